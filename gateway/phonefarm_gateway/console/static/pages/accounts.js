/** Accounts: which is the trouble. */

import { html, nothing, repeat } from '../vendor/lit.js';
import { Feed, phonesFeed } from '../feed.js';
import { Page, Steps, chip, empty, heading, pending, phoneLink, phoneName } from '../parts.js';
import { page, router } from '../router.js';
import { accountVerbs, buttons } from '../verbs.js';
import { words } from '../words.js';

/** @typedef {import('../rest.js').Account} Account */

const STATES = /** @type {const} */ (['active', 'inactive', 'attention']);

/** @param {Account} account */
const stateOf = (account) => (account.condition !== 'ok' ? 'attention' : account.active ? 'active' : 'inactive');

class AccountsPage extends Page {
  constructor() {
    super();
    /** @type {Feed<import('../rest.js').AccountList>} */
    this.accounts = new Feed(this, () => '/accounts', { topics: ['account'] });
    this.phones = phonesFeed(this, 15);
    this.steps = new Steps(this);
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

  #changed = () => this.requestUpdate();

  render() {
    return html`${heading({ title: words.pages.accounts.name, asks: words.pages.accounts.asks, feed: this.accounts })}
      ${this.accounts.data ? this.#list(this.accounts.data.accounts) : pending(this.accounts)}`;
  }

  /** @param {Account[]} all */
  #list(all) {
    if (!all.length) return empty(words.accounts.empty, words.accounts.emptyMore);
    const wanted = router.query;
    const text = (wanted.get('text') ?? '').toLowerCase();
    const state = wanted.get('state') ?? '';
    const names = new Map(this.phones.data?.phones.map((phone) => [phone.phone_id, phoneName(phone)]));
    const shown = all.filter((one) => {
      const has = [one.account_id, one.app, one.phone_id ?? '', names.get(one.phone_id ?? '') ?? ''].join(' ').toLowerCase();
      return has.includes(text) && (!state || stateOf(one) === state);
    });
    const { columns } = words.accounts;
    return html`<form class="filters" role="search" aria-label=${words.filter.label} @submit=${(/** @type {Event} */ event) => event.preventDefault()}>
        <label class="grow"><span>${words.accounts.filter}</span><input type="search" .value=${wanted.get('text') ?? ''} spellcheck="false"
          @input=${(/** @type {InputEvent} */ event) => router.setQuery({ text: /** @type {HTMLInputElement} */ (event.target).value })} /></label>
        <label><span>${words.phones.state}</span><select @change=${(/** @type {Event} */ event) => router.setQuery({ state: /** @type {HTMLSelectElement} */ (event.target).value })}>
          <option value="" ?selected=${!state}>${words.filter.any}</option>
          ${STATES.map((one) => html`<option value=${one} ?selected=${one === state}>${words.accounts[one]}</option>`)}</select></label>
        <output class="count">${words.filter.shown(shown.length, all.length)}</output>
      </form>
      ${shown.length ? html`<div class="scroll"><table class="list rows">
        <caption class="hidden">${words.accounts.table}</caption>
        <thead><tr>${[columns.account, columns.state, columns.why, columns.app, columns.phone].map((name) => html`<th scope="col">${name}</th>`)}<td></td></tr></thead>
        <tbody>${repeat(this.steps.of(shown), (one) => one.account_id, (one) => html`<tr>
          <th scope="row">${one.account_id}</th>
          <td>${one.condition === 'ok' ? nothing : chip('bad', words.accounts.attention)} ${
            one.active ? (one.condition === 'ok' ? chip('good', words.accounts.active) : nothing) : chip('idle', words.accounts.inactive)
          }</td>
          <td class="why">${one.condition_reason}</td>
          <td>${one.app}</td>
          <td>${one.phone_id ? phoneLink(one.phone_id, names.get(one.phone_id)) : html`<span class="sub">${words.accounts.noPhone}</span>`}</td>
          <td class="row-verbs">${buttons(accountVerbs(one), one.account_id)}</td>
        </tr>`)}${this.steps.end(shown, 6)}</tbody></table></div>`
      : html`${empty(words.accounts.none)}<p><a class="button" href=${page('accounts')}>${words.filter.clear}</a></p>`}`;
  }
}

customElements.define('pf-accounts', AccountsPage);
