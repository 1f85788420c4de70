/** Audit: who did what, and why. */

import { html, nothing } from '../vendor/lit.js';
import { get, query } from '../api.js';
import { Feed } from '../feed.js';
import { Page, empty, heading, pending } from '../parts.js';
import { page, router } from '../router.js';
import { session } from '../session.js';
import { when } from '../time.js';
import { spoken, words } from '../words.js';

/** @typedef {import('../rest.js').AuditList} AuditList */
/** @typedef {import('../rest.js').AuditEntry} AuditEntry */

const PAGE = 100;
const SCOPE = 'operate';

/** Entries of the audit as a table. @param {AuditEntry[]} entries */
export const auditTable = (entries) => html`<div class="scroll"><table class="list rows">
  <caption class="hidden">${words.audit.table}</caption>
  <thead><tr>${[words.audit.columns.at, words.audit.columns.who, words.audit.columns.did, words.audit.columns.to, words.audit.columns.why].map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
  <tbody>${entries.map((one) => html`<tr><td>${when(one.at, 'clock')}</td><td>${one.actor}</td><th scope="row">${spoken(one.verb)}</th>
    <td><a href=${`${page('audit')}${query({ subject: one.subject })}`}>${one.subject}</a></td><td class="why">${one.reason}</td></tr>`)}</tbody></table></div>`;

class AuditPage extends Page {
  constructor() {
    super();
    this.pages = 1;
    /** @type {Feed<AuditList>} */
    this.audit = new Feed(this, () => (session.may(SCOPE) ? `/audit${query({ subject: router.query.get('subject'), limit: PAGE })}` : null), {
      seconds: 10, topics: ['phone', 'account', 'agent', 'pause', 'process', 'key'], load: (path) => this.#load(path),
    });
  }

  connectedCallback() {
    super.connectedCallback();
    router.addEventListener('filtered', this.#changed);
    router.addEventListener('moved', this.#changed);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    router.removeEventListener('filtered', this.#changed);
    router.removeEventListener('moved', this.#changed);
  }

  #changed = () => {
    this.pages = 1;
    this.requestUpdate();
  };

  /** @param {string} path @returns {Promise<AuditList>} */
  async #load(path) {
    /** @type {AuditEntry[]} */
    const entries = [];
    /** @type {string | null} */
    let cursor = '';
    for (let number = 0; number < this.pages && cursor !== null; number += 1) {
      /** @type {AuditList} */
      const list = await get(cursor ? `${path}&cursor=${encodeURIComponent(cursor)}` : path);
      entries.push(...list.entries);
      cursor = list.next_cursor;
    }
    return { entries, next_cursor: cursor };
  }

  render() {
    const title = heading({ title: words.pages.audit.name, asks: words.pages.audit.asks, feed: this.audit });
    if (!session.may(SCOPE)) return html`${title}${empty(words.dialog.needs(SCOPE))}`;
    const list = this.audit.data;
    return html`${title}
      <form class="filters" role="search" aria-label=${words.filter.label} @submit=${(/** @type {Event} */ event) => event.preventDefault()}>
        <label class="grow"><span>${words.audit.filter}</span><input type="search" .value=${router.query.get('subject') ?? ''} spellcheck="false"
          @change=${(/** @type {Event} */ event) => router.setQuery({ subject: /** @type {HTMLInputElement} */ (event.target).value.trim() })} /></label></form>
      ${!list ? pending(this.audit) : list.entries.length ? auditTable(list.entries) : empty(words.audit.empty)}
      ${list && list.next_cursor !== null ? html`<p class="after"><button type="button" @click=${() => { this.pages += 1; this.audit.refresh(); }}>${words.shell.more}</button></p>` : nothing}`;
  }
}

customElements.define('pf-audit', AuditPage);
