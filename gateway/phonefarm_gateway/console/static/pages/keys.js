/** Keys: who may do what. */

import { html, nothing } from '../vendor/lit.js';
import { Feed } from '../feed.js';
import { Page, chip, empty, heading, pending } from '../parts.js';
import { session } from '../session.js';
import { shortcuts } from '../shortcuts.js';
import { when } from '../time.js';
import { buttons, createKeyVerb, keysOf, revokeKeyVerb } from '../verbs.js';
import { words } from '../words.js';

/** @typedef {import('../rest.js').ApiKey} ApiKey */

const SCOPE = 'admin';
const SCOPES = ['read', 'watch', 'submit', 'cancel', 'operate', 'admin'];

class KeysPage extends Page {
  static properties = { secret: { state: true } };

  constructor() {
    super();
    this.secret = '';
    /** @type {Feed<import('../rest.js').ApiKeyList>} */
    this.keys = new Feed(this, () => (session.may(SCOPE) ? '/keys' : null), { topics: ['key'], seconds: 15 });
    this.create = createKeyVerb(SCOPES, (secret) => {
      this.secret = secret;
    });
  }

  connectedCallback() {
    super.connectedCallback();
    shortcuts.add(this, () => keysOf([this.create]));
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    shortcuts.drop(this);
    this.secret = '';
  }

  render() {
    const title = heading({ title: words.pages.keys.name, asks: words.pages.keys.asks, feed: this.keys, verbs: buttons([this.create]) });
    if (!session.may(SCOPE)) return html`${title}${empty(words.dialog.needs(SCOPE))}`;
    return html`${title}
      ${this.secret ? html`<section class="callout wait" aria-live="polite"><h2>${words.keys.once}</h2><p><code>${this.secret}</code></p>
        <button type="button" @click=${() => this.#copy()}>${words.keys.copy}</button> <button type="button" class="quiet" @click=${() => { this.secret = ''; }}>${words.shell.close}</button></section>` : nothing}
      ${this.keys.data ? this.#list(this.keys.data.keys) : pending(this.keys)}`;
  }

  /** @param {ApiKey[]} keys */
  #list(keys) {
    if (!keys.length) return empty(words.keys.empty, words.keys.emptyMore);
    const { columns } = words.keys;
    return html`<div class="scroll"><table class="list rows"><caption class="hidden">${words.pages.keys.name}</caption>
      <thead><tr>${[columns.name, columns.state, columns.scopes, columns.used, columns.expires, columns.made].map((name) => html`<th scope="col">${name}</th>`)}<td></td></tr></thead>
      <tbody>${keys.map((one) => html`<tr>
        <th scope="row">${one.name}</th>
        <td>${this.#state(one)}</td>
        <td>${one.scopes.join(', ')}</td>
        <td>${one.last_used_at ? when(one.last_used_at) : html`<span class="sub">${words.keys.never}</span>`}</td>
        <td>${one.expires_at ? when(one.expires_at, 'both') : words.shell.none}</td>
        <td>${when(one.created_at)}<div class="sub">${one.created_by}</div></td>
        <td class="row-verbs">${one.revoked_at ? nothing : buttons([revokeKeyVerb(one.name)], one.name)}</td></tr>`)}</tbody></table></div>`;
  }

  /** @param {ApiKey} key */
  #state(key) {
    if (key.revoked_at) return html`${chip('idle', words.keys.revoked)} <span class="sub">${when(key.revoked_at)}</span>`;
    if (key.expires_at && Date.parse(key.expires_at) < Date.now()) return chip('idle', words.keys.expired);
    return chip('good', words.keys.good);
  }

  #copy() {
    navigator.clipboard?.writeText(this.secret);
  }
}

customElements.define('pf-keys', KeysPage);
