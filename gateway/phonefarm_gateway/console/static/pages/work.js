/** Work: what runs, waits and failed; why each waiting row waits. */

import { html, nothing, repeat } from '../vendor/lit.js';
import { get, query } from '../api.js';
import { Feed } from '../feed.js';
import { ENDED, Page, code, empty, heading, pending, phoneLink, processLink, statusChip } from '../parts.js';
import { page, router } from '../router.js';
import { session } from '../session.js';
import { shortcuts } from '../shortcuts.js';
import { took, when } from '../time.js';
import { buttons, cancelVerb, keysOf } from '../verbs.js';
import { firstReasons } from '../waiting.js';
import { spoken, words } from '../words.js';

/** @typedef {import('../rest.js').ProcessRecord} ProcessRecord */
/** @typedef {import('../rest.js').ProcessList} ProcessList */

const STATUSES = /** @type {(keyof typeof words.statuses)[]} */ (Object.keys(words.statuses));
const PAGE = 50;
const FILTERS = /** @type {const} */ (['type', 'system', 'phone_id', 'account_id', 'request_id']);
const NAMES = {
  type: words.work.filter.type, system: words.work.filter.system, phone_id: words.work.filter.phone,
  account_id: words.work.filter.account, request_id: words.work.filter.request,
};
const WAITS = new Set(['queued', 'retrying']);

class WorkPage extends Page {
  constructor() {
    super();
    this.pages = 1;
    this.address = '';
    /** @type {Set<string>} */
    this.chosen = new Set();
    /** @type {Map<string, import('../waiting.js').Why>} */
    this.why = new Map();
    /** @type {Feed<ProcessList>} */
    this.work = new Feed(this, () => this.#path(), { topics: ['process'], load: (path) => this.#load(path) });
  }

  connectedCallback() {
    super.connectedCallback();
    router.addEventListener('filtered', this.#changed);
    router.addEventListener('moved', this.#changed);
    shortcuts.add(this, () => keysOf(this.#verbs));
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    router.removeEventListener('filtered', this.#changed);
    router.removeEventListener('moved', this.#changed);
    shortcuts.drop(this);
  }

  #changed = () => {
    this.pages = 1;
    this.chosen.clear();
    this.requestUpdate();
  };

  #path() {
    const wanted = router.query;
    /** @type {Record<string, string | string[] | number>} */
    const values = { status: wanted.getAll('status'), limit: PAGE };
    for (const name of FILTERS) values[name] = wanted.get(name) ?? '';
    return `/processes${query(values)}`;
  }

  /** @param {string} path @returns {Promise<ProcessList>} */
  async #load(path) {
    /** @type {ProcessRecord[]} */
    const processes = [];
    /** @type {string | null} */
    let cursor = '';
    for (let number = 0; number < this.pages && cursor !== null; number += 1) {
      /** @type {ProcessList} */
      const list = await get(cursor ? `${path}&cursor=${encodeURIComponent(cursor)}` : path);
      processes.push(...list.processes);
      cursor = list.next_cursor;
    }
    const waiting = processes.filter((one) => WAITS.has(one.status)).map((one) => one.process_id);
    this.why = await firstReasons(waiting, this.why);
    return { processes, next_cursor: cursor };
  }

  get #verbs() {
    const known = new Set(this.work.data?.processes.filter((one) => !ENDED.has(one.status)).map((one) => one.process_id));
    const ids = [...this.chosen].filter((id) => known.has(id));
    return ids.length ? [cancelVerb(ids)] : [];
  }

  render() {
    return html`${heading({ title: words.pages.work.name, asks: words.pages.work.asks, feed: this.work, verbs: buttons(this.#verbs) })}
      ${this.#filters()}
      ${this.work.data ? this.#list(this.work.data) : pending(this.work)}`;
  }

  #filters() {
    const wanted = router.query;
    const statuses = new Set(wanted.getAll('status'));
    return html`<form class="filters" role="search" aria-label=${words.filter.label} @submit=${(/** @type {Event} */ event) => event.preventDefault()}>
      <fieldset class="toggles"><legend>${words.work.columns.status}</legend>${STATUSES.map(
        (one) => html`<label><input type="checkbox" .checked=${statuses.has(one)} @change=${() => this.#toggle(one)} /><span>${words.statuses[one]}</span></label>`,
      )}</fieldset>
      ${FILTERS.map(
        (name) => html`<label><span>${NAMES[name]}</span><input type="search" .value=${wanted.get(name) ?? ''} spellcheck="false"
          @change=${(/** @type {Event} */ event) => router.setQuery({ [name]: /** @type {HTMLInputElement} */ (event.target).value.trim() })} /></label>`,
      )}
    </form>`;
  }

  /** @param {string} status */
  #toggle(status) {
    const next = router.query;
    const statuses = new Set(next.getAll('status'));
    if (!statuses.delete(status)) statuses.add(status);
    next.delete('status');
    for (const one of statuses) next.append('status', one);
    const text = next.toString();
    router.replace(text);
  }

  /** @param {ProcessList} list */
  #list({ processes, next_cursor }) {
    const { columns } = words.work;
    if (!processes.length) {
      return router.query.size
        ? html`${empty(words.work.none)}<p><a class="button" href=${page('work')}>${words.filter.clear}</a></p>`
        : empty(words.work.empty, words.work.emptyMore);
    }
    const open = processes.filter((one) => !ENDED.has(one.status)).map((one) => one.process_id);
    const may = session.may('cancel');
    return html`<div class="scroll"><table class="list rows">
        <caption class="hidden">${words.work.table}</caption>
        <thead><tr>
          <th scope="col">${may ? html`<input type="checkbox" aria-label=${words.work.selectAll} ?disabled=${!open.length}
            .checked=${open.length > 0 && open.every((id) => this.chosen.has(id))} @change=${() => this.#chooseAll(open)} />` : html`<span class="hidden">${words.work.selectAll}</span>`}</th>
          ${[columns.status, columns.process, columns.why, columns.where, columns.from, columns.created, columns.took].map((name) => html`<th scope="col">${name}</th>`)}
        </tr></thead>
        <tbody>${repeat(processes, (one) => one.process_id, (one) => this.#row(one, may))}</tbody>
      </table></div>
      ${next_cursor === null ? nothing : html`<p><button type="button" @click=${() => { this.pages += 1; this.work.refresh(); }}>${words.shell.more}</button></p>`}`;
  }

  /** @param {ProcessRecord} one @param {boolean} may */
  #row(one, may) {
    const { timestamps: times, partial_progress: progress } = one;
    const all = 'items_total' in progress ? progress.items_total : 1;
    return html`<tr>
      <td>${
        may && !ENDED.has(one.status)
          ? html`<input type="checkbox" aria-label=${words.work.select(one.process_id)} .checked=${this.chosen.has(one.process_id)} @change=${() => this.#choose(one.process_id)} />`
          : nothing
      }</td>
      <td>${statusChip(one.status)}</td>
      <th scope="row">${processLink(one.process_id, spoken(one.process_type))}<span class="sub">${one.request_id ?? one.process_id}</span></th>
      <td class="why">${this.#reason(one)}</td>
      <td class="names">${phoneLink(one.target.phone_id)}${one.target.account_id ? html`<span>${one.target.account_id}</span>` : nothing}
        ${all > 1 && 'items_total' in progress ? html`<span>${words.work.items(progress.items_completed, all)}</span>` : nothing}</td>
      <td>${one.requested_by.system}</td>
      <td>${when(times.created_at)}</td>
      <td class="number">${ENDED.has(one.status) || times.executing_at ? took(times.executing_at ?? times.created_at, times.finished_at) : words.shell.none}</td>
    </tr>`;
  }

  /** @param {ProcessRecord} one */
  #reason(one) {
    if (one.error) {
      return html`<div class="reason"><span>${spoken(one.error.code)}${one.error.action ? html` ${words.process.during} ${spoken(one.error.action)}` : nothing}</span>
        <span class="remedy">${one.error.message}</span></div>`;
    }
    if (!WAITS.has(one.status)) return nothing;
    const why = this.why.get(one.process_id);
    if (!why) return nothing;
    if (!why.reason) return html`<span class="sub">${words.work.claimSoon}</span>`;
    return html`<div class="reason"><span>${spoken(why.reason.reason)}</span><span class="remedy">${code(why.reason.remedy)}</span>${
      why.more ? html`<span class="more">+${why.more}</span>` : nothing
    }</div>`;
  }

  /** @param {string} id */
  #choose(id) {
    if (!this.chosen.delete(id)) this.chosen.add(id);
    this.requestUpdate();
  }

  /** @param {string[]} ids */
  #chooseAll(ids) {
    const isAll = ids.every((id) => this.chosen.has(id));
    this.chosen = new Set(isAll ? [] : ids);
    this.requestUpdate();
  }
}

customElements.define('pf-work', WorkPage);
