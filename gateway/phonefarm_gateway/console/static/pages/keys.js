/** The keys, a part of the settings: who may do what. */

import { html, nothing } from '../vendor/lit.js';
import { Feed } from '../feed.js';
import { Page, chip, pending } from '../parts.js';
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
    return html`<section aria-labelledby="keys"><div class="head"><h2 id="keys">${words.settings.keys.heading}</h2><div class="verbs">${buttons([this.create])}</div></div>
      <p class="sub">${words.settings.keys.about}</p>${session.may(SCOPE) ? this.#keys() : html`<p>${words.dialog.needs(SCOPE)}</p>`}</section>`;
  }

  #keys() {
    return html`${this.secret ? html`<div class="callout wait" aria-live="polite"><p><b>${words.keys.once}</b></p><pre class="secret">${this.secret}</pre>
        <p><button type="button" @click=${() => this.#copy()}>${words.keys.copy}</button> <button type="button" class="quiet" @click=${() => { this.secret = ''; }}>${words.shell.close}</button></p></div>` : nothing}
      ${this.keys.data ? this.#list(this.keys.data.keys) : pending(this.keys)}`;
  }

  /** @param {ApiKey[]} keys */
  #list(keys) {
    if (!keys.length) return html`<p>${words.keys.empty}</p>`;
    const { columns } = words.keys;
    return html`<div class="scroll"><table class="list rows"><caption class="hidden">${words.settings.keys.heading}</caption>
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
