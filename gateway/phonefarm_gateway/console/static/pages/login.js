/** Logs in with an API key. */

import { html, nothing } from '../vendor/lit.js';
import { CallError } from '../api.js';
import { Page, code } from '../parts.js';
import { session } from '../session.js';
import { words } from '../words.js';

const WRONG = 401;

class LoginPage extends Page {
  static properties = { error: { state: true }, isBusy: { state: true }, isShown: { state: true } };

  constructor() {
    super();
    this.error = session.refusal;
    this.isBusy = false;
    this.isShown = false;
  }

  firstUpdated() {
    this.querySelector('input')?.focus();
  }

  render() {
    return html`<main class="login"><form @submit=${(/** @type {SubmitEvent} */ event) => this.#submit(event)}>
      <p class="brand">${words.title}</p>
      <h1>${words.login.heading}</h1>
      <div class="field"><label for="key">${words.login.key}</label>
        <input id="key" name="key" type=${this.isShown ? 'text' : 'password'} autocomplete="current-password" required spellcheck="false"
          maxlength="1024" aria-describedby="key-hint" aria-invalid=${this.error ? 'true' : 'false'} /></div>
      <label class="check"><input type="checkbox" @change=${() => { this.isShown = !this.isShown; }} /> ${words.login.show}</label>
      ${this.error ? html`<div class="problem" role="alert"><p>${this.error}</p></div>` : nothing}
      <button type="submit" class="primary" ?disabled=${this.isBusy}>${words.login.submit}</button>
      <p id="key-hint" class="hint">${code(words.login.hint)}</p>
    </form></main>`;
  }

  /** @param {SubmitEvent} event */
  async #submit(event) {
    event.preventDefault();
    const key = this.querySelector('input')?.value.trim() ?? '';
    if (!key || this.isBusy) return;
    this.isBusy = true;
    this.error = '';
    try {
      await session.logIn(key);
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      if (error.status === WRONG) this.error = words.login.wrong;
      else if (error.reason === 'insufficient_scope') this.error = words.login.scope;
      else this.error = error.message;
    } finally {
      this.isBusy = false;
    }
  }
}

customElements.define('pf-login', LoginPage);
