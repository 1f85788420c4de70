/** Queue: why nothing happens, summed by reason, and what is paused. */

import { html, nothing } from '../vendor/lit.js';
import { get } from '../api.js';
import { Feed } from '../feed.js';
import { Page, code, empty, heading, pauseName, pending, processLink } from '../parts.js';
import { shortcuts } from '../shortcuts.js';
import { when } from '../time.js';
import { buttons, keysOf, pauseVerb, resumeVerb } from '../verbs.js';
import { summed } from '../waiting.js';
import { spoken, words } from '../words.js';

/** @typedef {import('../waiting.js').Sum} Sum */

class QueuePage extends Page {
  constructor() {
    super();
    this.verbs = [pauseVerb()];
    /** @type {Map<string, import('../waiting.js').Why>} */
    this.why = new Map();
    /** @type {Feed<Sum>} */
    this.queue = new Feed(this, () => '/processes?status=queued&status=retrying&limit=100', {
      topics: ['process', 'phone', 'pause'],
      load: async (path) => summed(await get(path), this.why),
    });
    /** @type {Feed<import('../rest.js').PauseList>} */
    this.pauses = new Feed(this, () => '/pauses', { topics: ['pause'], seconds: 10 });
  }

  connectedCallback() {
    super.connectedCallback();
    shortcuts.add(this, () => keysOf(this.verbs));
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    shortcuts.drop(this);
  }

  render() {
    return html`${heading({ title: words.pages.queue.name, asks: words.pages.queue.asks, feed: this.queue, verbs: buttons(this.verbs) })}
      ${this.#pauses()}
      ${this.queue.data ? this.#reasons(this.queue.data) : pending(this.queue)}`;
  }

  #pauses() {
    const found = this.pauses.data?.pauses;
    if (!found) return nothing;
    return html`<section class=${found.length ? 'callout wait' : ''} aria-labelledby="pauses"><h2 id="pauses">${words.queue.pauses}</h2>
      ${
        found.length
          ? html`<ul class="plain lines">${found.map(
              (one) => html`<li class="row"><div><div class="line"><b>${pauseName(one)}</b> <span>${one.by}</span> <span class="sub">${when(one.since)}</span></div>
                <div class="sub">${one.reason}</div></div><div class="verbs">${buttons([resumeVerb(one)], pauseName(one))}</div></li>`,
            )}</ul>`
          : html`<p>${words.queue.noPauses}</p>`
      }</section>`;
  }

  /** @param {Sum} sum */
  #reasons(sum) {
    if (!sum.processes) return empty(words.queue.calm, words.queue.calmMore);
    const { columns } = words.queue;
    return html`<section aria-labelledby="reasons"><h2 id="reasons">${words.queue.reasons}</h2>
      <p>${words.queue.waiting(sum.processes)}${sum.isAll ? '.' : html`. ${words.queue.sample(sum.processes)}`}</p>
      ${
        sum.reasons.length
          ? html`<div class="scroll"><table class="list rows"><thead><tr>${[columns.reason, columns.items, columns.helps, columns.processes].map(
              (name) => html`<th scope="col">${name}</th>`,
            )}</tr></thead>
            <tbody>${sum.reasons.map(
              (one) => html`<tr><th scope="row">${spoken(one.reason)}</th><td class="number">${one.count.toLocaleString()}</td>
                <td class="why"><ul class="plain">${one.remedies.map((text) => html`<li>${code(text)}</li>`)}</ul></td>
                <td class="names">${one.ids.slice(0, 3).map((id) => processLink(id))}${one.ids.length > 3 ? html`<span>+${one.ids.length - 3}</span>` : nothing}</td></tr>`,
            )}</tbody></table></div>`
          : html`<p>${words.queue.soon}</p>`
      }</section>`;
  }
}

customElements.define('pf-queue', QueuePage);
