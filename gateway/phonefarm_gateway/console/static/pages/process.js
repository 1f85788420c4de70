/** One process: what happened, and what now. */

import { html, nothing } from '../vendor/lit.js';
import { get } from '../api.js';
import { Feed } from '../feed.js';
import { ENDED, Page, chip, code, empty, heading, pending, phoneLink, short, size, statusChip } from '../parts.js';
import { shortcuts } from '../shortcuts.js';
import { took, when } from '../time.js';
import { entriesOf, pictureOf } from '../timeline.js';
import { buttons, keysOf, processVerbs, replayVerb } from '../verbs.js';
import { moved, spoken, words } from '../words.js';

/** @typedef {import('../rest.js').ProcessRecord} ProcessRecord */
/** @typedef {import('../rest.js').Evidence} Evidence */
/** @typedef {import('../timeline.js').Whole} Whole */
/** @typedef {import('../timeline.js').Entry} Entry */

const MOST_ITEMS = 20;
const ENDED_SECONDS = 30;
const OPEN_SECONDS = 3;
const UNKNOWN = 404;
/** @param {ProcessRecord} record @param {Evidence} file */
const fileUrl = (record, file) => `/processes/${record.process_id}/${file.url}`;

class ProcessPage extends Page {
  static properties = { processId: {} };

  constructor() {
    super();
    this.processId = '';
    /** @type {Feed<Whole>} */
    this.whole = new Feed(this, () => this.processId && `/processes/${encodeURIComponent(this.processId)}`, {
      seconds: OPEN_SECONDS, topics: ['process'], load: (path) => this.#load(path),
    });
  }

  connectedCallback() {
    super.connectedCallback();
    shortcuts.add(this, () => keysOf(this.#verbs));
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    shortcuts.drop(this);
  }

  /** @param {string} path @returns {Promise<Whole>} */
  async #load(path) {
    /** @type {ProcessRecord} */
    const record = await get(path);
    const isOpen = !ENDED.has(record.status);
    this.whole.seconds = isOpen ? OPEN_SECONDS : ENDED_SECONDS;
    const items = record.linked_ids.queue_item_ids.slice(0, MOST_ITEMS);
    const [timeline, evidence, deliveries, explanation, ...details] = await Promise.all([
      get(`${path}/timeline`),
      get(`${path}/evidence`),
      get(`${path}/deliveries`),
      isOpen ? get(`${path}/explain`) : null,
      ...items.map((id) => get(`/queue-items/${id}`)),
    ]);
    return /** @type {Whole} */ ({ record, timeline, evidence, deliveries, explanation, items: details });
  }

  get #verbs() {
    const whole = this.whole.data;
    if (!whole) return [];
    const isUnsent = whole.deliveries.deliveries.some((one) => one.status === 'dead' || one.status === 'stopped');
    return [...processVerbs(whole.record), ...(isUnsent ? [replayVerb(whole.record.process_id)] : [])];
  }

  render() {
    if (!this.whole.data) {
      const isUnknown = this.whole.error?.status === UNKNOWN;
      return html`${heading({ title: words.pages.process.name })}
        ${isUnknown ? empty(words.process.unknown, words.process.unknownMore) : pending(this.whole)}`;
    }
    const whole = this.whole.data;
    const { record } = whole;
    return html`${heading({
      title: html`${spoken(record.process_type)} ${statusChip(record.status)}`, asks: words.pages.process.asks,
      feed: this.whole, verbs: buttons(this.#verbs),
    })}
      ${record.error ? this.#failure(whole) : nothing}
      ${whole.explanation ? this.#waits(whole.explanation) : nothing}
      <div class="columns"><div>${this.#timeline(whole)}</div>
        <div>${this.#facts(record)}${this.#items(record)}${this.#result(record)}${this.#callbacks(whole)}${this.#files(whole)}</div></div>`;
  }

  /** @param {Whole} whole */
  #failure(whole) {
    const { error } = whole.record;
    if (!error) return nothing;
    const picture = pictureOf(whole);
    return html`<section class="failure" aria-labelledby="failed">
      <div><h2 id="failed">${words.process.failed}</h2>
        <p class="strong">${spoken(error.code)}${error.action ? html` ${words.process.during} ${spoken(error.action)}` : nothing}</p>
        <p>${error.message}</p><p class="sub">${spoken(error.class)}, ${words.process.attempt(error.attempt)}</p></div>
      ${picture ? this.#picture(picture, whole) : html`<p class="sub">${words.process.noPicture}</p>`}</section>`;
  }

  /** @param {import('../rest.js').Explanation} explanation */
  #waits({ summary, reasons, items }) {
    const isWaiting = items.some((one) => ['QUEUED', 'SCHEDULED', 'RETRYABLE'].includes(one.status));
    if (!isWaiting) return nothing;
    const ahead = Math.min(...items.map((one) => one.items_ahead));
    return html`<section class="callout wait" aria-labelledby="waits"><h2 id="waits">${words.process.waits}</h2>
      <p>${reasons.length ? nothing : summary}${ahead > 0 && Number.isFinite(ahead) ? html` ${words.process.ahead(ahead)}.` : nothing}</p>
      ${
        reasons.length
          ? html`<ul class="reasons">${reasons.map(
              (one) => html`<li><b>${spoken(one.reason)}</b> <span class="sub">${one.count}</span><span class="remedy">${code(one.remedy)}</span></li>`,
            )}</ul>`
          : html`<p>${words.process.claimSoon}</p>`
      }</section>`;
  }

  /** @param {Whole} whole */
  #timeline(whole) {
    const isMany = whole.record.linked_ids.queue_item_ids.length > 1;
    return html`<section aria-labelledby="timeline"><h2 id="timeline">${words.process.timeline}</h2>
      ${whole.timeline.truncated ? html`<p class="sub">${words.process.older}</p>` : nothing}
      <ol class="timeline">${entriesOf(whole).map((entry) => this.#entry(entry, whole, isMany))}</ol></section>`;
  }

  /** @param {Entry} entry @param {Whole} whole @param {boolean} isMany */
  #entry(entry, whole, isMany) {
    const item = isMany && entry.item ? html`<span class="sub">${short(entry.item)}</span>` : nothing;
    switch (entry.kind) {
      case 'move': {
        const { move } = entry;
        return html`<li class=${`move ${entry.tone}`}><div class="line">${when(move.at, 'clock')} <b>${moved(move.to_state)}</b> ${item}
            ${move.phone_id ? phoneLink(move.phone_id) : nothing} ${move.attempt > 1 ? html`<span class="sub">${words.process.attempt(move.attempt)}</span>` : nothing}</div>
          <div class="sub">${move.actor}${move.reason ? html`: ${move.reason}` : nothing}</div></li>`;
      }
      case 'actions':
        return html`<li class="actions"><div class="line"><b>${words.process.actions}</b> ${item}</div>
          <ol class="steps">${entry.actions.map((one) => html`<li>${chip(entry.toneOf(one), spoken(one.status.toLowerCase()))} ${spoken(one.kind)}</li>`)}</ol></li>`;
      case 'picture':
        return html`<li class="picture"><div class="line">${when(entry.at, 'clock')} ${item}</div>${this.#picture(entry.file, whole)}</li>`;
      case 'delivery': {
        const { delivery: one } = entry;
        return html`<li class=${`delivery ${entry.tone}`}><div class="line">${when(entry.at, 'clock')} <span>${words.process.fields.callback} ${one.sequence}, ${spoken(one.milestone)}</span>
            ${chip(entry.tone, spoken(one.status))} ${one.attempts > 1 ? html`<span class="sub">${words.process.attempts(one.attempts)}</span>` : nothing}</div></li>`;
      }
    }
  }

  /** @param {Evidence} file @param {Whole} whole */
  #picture(file, whole) {
    const action = whole.items.find((one) => one.queue_item_id === file.queue_item_id)?.actions.find((one) => one.index === file.action_index);
    const about = [action ? spoken(action.kind) : file.name, words.process.attempt(file.attempt)].join(', ');
    const url = fileUrl(whole.record, file);
    return html`<figure><a href=${url} target="_blank" rel="noopener"><img src=${url} alt=${about} loading="lazy" /></a><figcaption>${about}</figcaption></figure>`;
  }

  /** @param {ProcessRecord} record */
  #facts(record) {
    const names = words.process.fields;
    const { timestamps: times, requested_by: by, target } = record;
    /** @type {[string, unknown][]} */
    const facts = [
      [names.target, html`${phoneLink(target.phone_id)} ${target.account_id ?? ''}`],
      [names.asked, when(times.created_at, 'both')],
      [names.started, times.executing_at ? when(times.executing_at, 'both') : ''],
      [names.next, times.retrying_at && record.status === 'retrying' ? when(times.retrying_at, 'both') : ''],
      [names.cancel, times.cancel_requested_at ? when(times.cancel_requested_at, 'both') : ''],
      [names.ended, times.finished_at ? html`${when(times.finished_at, 'both')}, ${took(times.executing_at ?? times.created_at, times.finished_at)}` : ''],
      [names.system, by.system],
      [names.user, by.user],
      [names.request, record.request_id],
      [names.callback, record.callback?.url],
      [names.id, html`<code>${record.process_id}</code>`],
    ];
    return html`<section aria-labelledby="facts"><h2 id="facts">${words.process.facts}</h2>
      <dl class="facts">${facts.filter(([, value]) => value).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl></section>`;
  }

  /** @param {ProcessRecord} record */
  #items({ partial_progress: progress }) {
    if (!('items_total' in progress) || progress.items_total < 2) return nothing;
    return html`<section aria-labelledby="items"><h2 id="items">${words.process.items} <span class="count">${words.work.items(progress.items_completed, progress.items_total)}</span></h2>
      <div class="scroll"><table class="list"><tbody>${progress.items.map(
        (one) => html`<tr><th scope="row"><code>${short(one.queue_item_id)}</code></th><td>${moved(one.status)}</td>
          <td>${phoneLink(one.phone_id)} ${one.account_id ?? ''}</td><td class="number">${one.actions_done}/${one.actions_total}</td></tr>`,
      )}</tbody></table></div></section>`;
  }

  /** @param {ProcessRecord} record */
  #result({ result }) {
    if (!Object.keys(result).length) return nothing;
    return html`<section aria-labelledby="result"><h2 id="result">${words.process.result}</h2><pre tabindex="0">${JSON.stringify(result, null, 2)}</pre></section>`;
  }

  /** @param {Whole} whole */
  #callbacks({ deliveries: { deliveries } }) {
    /** @type {Record<string, import('../parts.js').Tone>} */
    const tones = { delivered: 'good', dead: 'bad', stopped: 'bad' };
    return html`<section aria-labelledby="callbacks"><h2 id="callbacks">${words.process.callbacks}</h2>
      ${
        deliveries.length
          ? html`<ul class="plain">${deliveries.map(
              (one) => html`<li><div class="line"><span class="number">${one.sequence}</span> ${spoken(one.milestone)} ${chip(tones[one.status] ?? 'wait', spoken(one.status))}
                <span class="sub">${words.process.attempts(one.attempts)}</span></div>${one.last_error && one.status !== 'delivered' ? html`<div class="sub">${one.last_error}</div>` : nothing}</li>`,
            )}</ul>`
          : html`<p>${words.process.noCallbacks}</p>`
      }</section>`;
  }

  /** @param {Whole} whole */
  #files({ evidence, record }) {
    const isComing = evidence.runs.some((one) => !one.complete);
    return html`<section aria-labelledby="files"><h2 id="files">${words.process.evidence}</h2>
      ${
        evidence.evidence.length
          ? html`<ul class="plain files">${evidence.evidence.map(
              (one) => html`<li>${one.removed_at ? html`<s>${one.name}</s>` : html`<a href=${fileUrl(record, one)} target="_blank" rel="noopener">${one.name}</a>`}
                <span class="sub">${one.removed_at ? html`${words.process.removed} ${when(one.removed_at)}` : size(one.bytes)}${one.attempt > 1 ? html`, ${words.process.attempt(one.attempt)}` : nothing}</span></li>`,
            )}</ul>`
          : html`<p>${words.process.noEvidence}</p>`
      }
      ${isComing ? html`<p class="sub">${words.process.incomplete}</p>` : nothing}</section>`;
  }
}

customElements.define('pf-process', ProcessPage);
