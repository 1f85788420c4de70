/** Phones: which work, and why not the others. */

import { html, nothing, repeat } from '../vendor/lit.js';
import { Feed, phonesFeed } from '../feed.js';
import {
  PHONE_STATES, Page, Steps, empty, firstReason, hasText, heading, pending, phoneName, processLink, stateChip, stateOf,
} from '../parts.js';
import { page, router } from '../router.js';
import '../screen/thumbnails.js';
import { words } from '../words.js';

/** @typedef {import('../rest.js').Phone} Phone */
/** @typedef {import('../rest.js').Account} Account */

const ORDER = new Intl.Collator(undefined, { numeric: true });

class PhonesPage extends Page {
  constructor() {
    super();
    this.phones = phonesFeed(this);
    /** @type {Feed<import('../rest.js').AccountList>} */
    this.accounts = new Feed(this, () => '/accounts', { topics: ['account'], seconds: 15 });
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
    return html`${heading({ title: words.pages.phones.name, asks: words.pages.phones.asks, feed: this.phones })}
      ${this.phones.data ? this.#list(this.phones.data.phones) : pending(this.phones)}`;
  }

  /** @param {Phone[]} shown */
  #grid(shown) {
    return html`<ul class="grid">${repeat(this.steps.of(shown), (phone) => phone.phone_id, (phone) => html`<li><a href=${page('phones', phone.phone_id)}>
        <pf-thumbnail .phoneId=${phone.phone_id} .name=${phoneName(phone)}></pf-thumbnail>
        <span class="line"><b>${phoneName(phone)}</b> ${stateChip(phone)}</span><span class="sub">${phone.model}</span></a></li>`)}${this.steps.more(shown)}</ul>`;
  }

  /** @param {Phone[]} all */
  #list(all) {
    if (!all.length) return empty(words.phones.empty, words.phones.emptyMore);
    const wanted = router.query;
    const text = wanted.get('text') ?? '';
    const state = wanted.get('state') ?? '';
    const host = wanted.get('host') ?? '';
    const view = wanted.get('view') ?? '';
    const bound = Map.groupBy(this.accounts.data?.accounts ?? [], (account) => account.phone_id ?? '');
    /** @param {Phone} phone */
    const accountsOf = (phone) => (bound.get(phone.phone_id) ?? []).map((one) => one.account_id);
    const shown = all
      .filter((phone) => (!state || stateOf(phone) === state) && (!host || phone.agent_id === host) && hasText(phone, text, text ? accountsOf(phone) : []))
      .sort((one, other) => ORDER.compare(phoneName(one), phoneName(other)));
    const counts = Map.groupBy(all, stateOf);
    const hosts = [...new Set(all.map((phone) => phone.agent_id))].sort();
    const { columns } = words.phones;
    return html`<form class="filters" role="search" aria-label=${words.filter.label} @submit=${(/** @type {Event} */ event) => event.preventDefault()}>
        <label class="grow"><span>${words.phones.filter}</span><input type="search" .value=${text} spellcheck="false"
          @input=${(/** @type {InputEvent} */ event) => router.setQuery({ text: /** @type {HTMLInputElement} */ (event.target).value })} /></label>
        <label><span>${words.phones.state}</span><select @change=${(/** @type {Event} */ event) => router.setQuery({ state: /** @type {HTMLSelectElement} */ (event.target).value })}>
          <option value="" ?selected=${!state}>${words.filter.any}</option>
          ${PHONE_STATES.filter((one) => counts.has(one) || one === state).map((one) => html`<option value=${one} ?selected=${one === state}>
            ${words.phoneStates[one]} (${counts.get(one)?.length ?? 0})</option>`)}</select></label>
        <label><span>${words.phones.host}</span><select @change=${(/** @type {Event} */ event) => router.setQuery({ host: /** @type {HTMLSelectElement} */ (event.target).value })}>
          <option value="" ?selected=${!host}>${words.filter.any}</option>
          ${hosts.map((one) => html`<option value=${one} ?selected=${one === host}>${one}</option>`)}</select></label>
        <fieldset class="view-choice"><legend>${words.phones.view}</legend>${[['', words.phones.asTable], ['grid', words.phones.asGrid]].map(
          ([value, label]) => html`<button type="button" aria-pressed=${view === value ? 'true' : 'false'} @click=${() => router.setQuery({ view: value })}>${label}</button>`,
        )}</fieldset>
        <output class="count">${words.filter.shown(shown.length, all.length)}</output>
      </form>
      ${shown.length && view ? this.#grid(shown) : shown.length ? html`<div class="scroll"><table class="list rows">
        <caption class="hidden">${words.phones.table}</caption>
        <thead><tr>${[columns.phone, columns.state, columns.why, columns.work, columns.account, columns.host, columns.android].map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
        <tbody>${repeat(this.steps.of(shown), (phone) => phone.phone_id, (phone) => html`<tr>
          <th scope="row"><a href=${page('phones', phone.phone_id)}>${phoneName(phone)}</a><span class="sub">${phone.model}</span></th>
          <td>${stateChip(phone)}</td>
          <td class="why">${stateOf(phone) === 'working' || stateOf(phone) === 'ready' ? nothing : firstReason(phone)}</td>
          <td>${processLink(phone.process_id)}</td>
          <td class="names">${accountsOf(phone).map((one) => html`<span>${one}</span>`)}</td>
          <td>${phone.agent_id}</td>
          <td>${phone.android_release}</td>
        </tr>`)}${this.steps.end(shown, 7)}</tbody></table></div>`
      : html`${empty(words.phones.none)}<p><a class="button" href=${page('phones')}>${words.filter.clear}</a></p>`}`;
  }
}

customElements.define('pf-phones', PhonesPage);
