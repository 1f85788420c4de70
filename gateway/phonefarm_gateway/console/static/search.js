/** The search field at the top: phones, accounts, processes and pages by any of their names. */

import { html, nothing } from './vendor/lit.js';
import { get } from './api.js';
import { Page, hasText, phoneName, stateChip } from './parts.js';
import { page, router } from './router.js';
import { shortcuts } from './shortcuts.js';
import { words } from './words.js';

/** @typedef {{kind: keyof typeof words.search.kinds, name: string, about: unknown, path: string}} Hit */

const MOST = 8;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const FRESH_MILLISECONDS = 10_000;

class SearchElement extends Page {
  static properties = { text: { state: true }, chosen: { state: true }, isOpen: { state: true } };

  constructor() {
    super();
    this.text = '';
    this.chosen = 0;
    this.isOpen = false;
    /** @type {import('./rest.js').Phone[]} */
    this.phones = [];
    /** @type {import('./rest.js').Account[]} */
    this.accounts = [];
    this.loadedAt = 0;
  }

  connectedCallback() {
    super.connectedCallback();
    shortcuts.add(this, () => [{ key: '/', label: words.help.search, run: () => this.querySelector('input')?.focus() }]);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    shortcuts.drop(this);
  }

  /** @returns {Hit[]} */
  get hits() {
    const text = this.text.trim();
    if (!text) return [];
    if (UUID.test(text)) return [{ kind: 'process', name: text.toLowerCase(), about: '', path: page('work', text.toLowerCase()) }];
    const bound = Map.groupBy(this.accounts, (account) => account.phone_id ?? '');
    const phones = this.phones
      .filter((phone) => hasText(phone, text, (bound.get(phone.phone_id) ?? []).map((one) => one.account_id)))
      .map((phone) => /** @type {Hit} */ ({
        kind: 'phone', name: phoneName(phone), about: html`${phone.model} ${stateChip(phone)}`, path: page('phones', phone.phone_id),
      }));
    const accounts = this.accounts
      .filter((account) => account.account_id.toLowerCase().includes(text.toLowerCase()))
      .map((account) => /** @type {Hit} */ ({
        kind: 'account', name: account.account_id, about: account.app,
        path: `${page('accounts')}?text=${encodeURIComponent(account.account_id)}`,
      }));
    /** @type {Hit} */
    const request = {
      kind: 'process', name: text, about: words.work.filter.request, path: `${page('work')}?request_id=${encodeURIComponent(text)}`,
    };
    return [...phones.slice(0, MOST), ...accounts.slice(0, MOST), request];
  }

  render() {
    const { hits } = this;
    const isShown = this.isOpen && hits.length > 0;
    return html`<search><input type="search" role="combobox" aria-label=${words.search.label} placeholder=${words.search.placeholder}
        aria-expanded=${isShown ? 'true' : 'false'} aria-controls="search-hits" aria-autocomplete="list" autocomplete="off" spellcheck="false"
        aria-activedescendant=${isShown ? `search-hit-${this.chosen}` : nothing} .value=${this.text}
        @focus=${() => this.#open()} @blur=${() => { this.isOpen = false; }}
        @input=${(/** @type {InputEvent} */ event) => this.#typed(event)} @keydown=${(/** @type {KeyboardEvent} */ event) => this.#pressed(event)} />
      <kbd aria-hidden="true">/</kbd>
      <ul id="search-hits" role="listbox" aria-label=${words.search.label} ?hidden=${!isShown}>
        ${hits.map((hit, index) => html`<li id=${`search-hit-${index}`} role="option" aria-selected=${index === this.chosen ? 'true' : 'false'}
            @mousedown=${(/** @type {MouseEvent} */ event) => { event.preventDefault(); this.#go(hit); }}>
            <span class="kind">${words.search.kinds[hit.kind]}</span> <b>${hit.name}</b> <span class="about">${hit.about}</span></li>`)}
      </ul></search>`;
  }

  async #open() {
    this.isOpen = true;
    if (Date.now() - this.loadedAt < FRESH_MILLISECONDS) return;
    this.loadedAt = Date.now();
    try {
      /** @type {[import('./rest.js').PhoneList, import('./rest.js').AccountList]} */
      const [phones, accounts] = await Promise.all([get('/phones'), get('/accounts')]);
      this.phones = phones.phones;
      this.accounts = accounts.accounts;
      this.requestUpdate();
    } catch {
      this.loadedAt = 0; // the banner says that the gateway is away
    }
  }

  /** @param {InputEvent} event */
  #typed(event) {
    this.text = event.target instanceof HTMLInputElement ? event.target.value : '';
    this.chosen = 0;
    this.isOpen = true;
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    const { hits } = this;
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      const step = event.key === 'ArrowDown' ? 1 : -1;
      this.chosen = hits.length ? (this.chosen + step + hits.length) % hits.length : 0;
    } else if (event.key === 'Enter' && hits[this.chosen]) {
      event.preventDefault();
      this.#go(hits[this.chosen]);
    }
  }

  /** @param {Hit} hit */
  #go(hit) {
    this.text = '';
    this.isOpen = false;
    this.querySelector('input')?.blur();
    router.go(hit.path);
  }
}

customElements.define('pf-search', SearchElement);
