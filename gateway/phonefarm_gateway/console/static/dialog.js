/** Asks before a verb is carried out: what it does, a reason, and a button that says the verb. */

import { html, nothing } from './vendor/lit.js';
import { CallError } from './api.js';
import { Page } from './parts.js';
import { words } from './words.js';

/**
 * @typedef {object} Field
 * @property {string} name
 * @property {string} label
 * @property {string} [hint]
 * @property {string} [value]
 * @property {boolean} [required]
 * @property {[string, string][]} [choices]  values and what they are called
 * @property {'text' | 'number' | 'checkbox'} [type]
 */

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {string} text
 * @property {string} go  the button's word
 * @property {boolean} [isDanger]
 * @property {Field[]} [fields]
 * @property {(values: Record<string, string>) => Promise<void>} work
 */

/** @type {Field} */
export const REASON = { name: 'reason', label: words.dialog.reason, hint: words.dialog.reasonHint, required: true };

/** One dialog for the whole console. It stays open, with what went wrong, when the work fails. */
class DialogElement extends Page {
  static properties = {
    question: { state: true },
    error: { state: true },
    isBusy: { state: true },
  };

  constructor() {
    super();
    /** @type {Question | null} */
    this.question = null;
    /** @type {CallError | null} */
    this.error = null;
    /** @type {boolean} */
    this.isBusy = false;
    /** @type {() => void} */
    this.settle = () => undefined;
  }

  /** @param {Question} question  @returns {Promise<void>} once the dialog is closed */
  ask(question) {
    this.question = question;
    this.error = null;
    this.isBusy = false;
    return new Promise((resolve) => {
      this.settle = resolve;
    });
  }

  updated() {
    const dialog = this.querySelector('dialog');
    if (dialog && !dialog.open) dialog.showModal();
  }

  render() {
    const { question } = this;
    if (!question) return nothing;
    return html`<dialog aria-labelledby="dialog-title" @close=${() => this.#closed()}>
      <form @submit=${(/** @type {SubmitEvent} */ event) => this.#submit(event)}>
        <h2 id="dialog-title">${question.title}</h2>
        <p>${question.text}</p>
        ${(question.fields ?? []).map((field) => this.#field(field))}
        ${this.error ? html`<div class="problem" role="alert"><p>${this.error.message}</p></div>` : nothing}
        <footer>
          <button type="button" @click=${() => this.querySelector('dialog')?.close()}>${words.dialog.cancel}</button>
          <button type="submit" class=${question.isDanger ? 'danger' : 'primary'} ?disabled=${this.isBusy}>${question.go}</button>
        </footer>
      </form>
    </dialog>`;
  }

  /** @param {Field} field */
  #field(field) {
    const id = `field-${field.name}`;
    const wrong = this.error?.errors.find((one) => one.field === field.name || one.field.endsWith(`.${field.name}`));
    const about = field.hint || wrong ? `${id}-about` : nothing;
    if (field.type === 'checkbox') {
      return html`<label class="check"><input id=${id} name=${field.name} type="checkbox" value="yes" ?checked=${Boolean(field.value)} /> ${field.label}</label>`;
    }
    return html`<div class="field"><label for=${id}>${field.label}</label>
      ${
        field.choices
          ? html`<select id=${id} name=${field.name} aria-describedby=${about}>
              ${field.choices.map(([value, label]) => html`<option value=${value} ?selected=${value === field.value}>${label}</option>`)}
            </select>`
          : html`<input id=${id} name=${field.name} type=${field.type ?? 'text'} .value=${field.value ?? ''} maxlength="1000"
              autocomplete="off" ?required=${field.required ?? false} aria-describedby=${about} />`
      }
      ${about === nothing ? nothing : html`<p id=${`${id}-about`} class=${wrong ? 'wrong' : 'hint'}>${wrong?.message ?? field.hint}</p>`}
    </div>`;
  }

  /** @param {SubmitEvent} event */
  async #submit(event) {
    event.preventDefault();
    const { question } = this;
    if (!question || this.isBusy || !(event.target instanceof HTMLFormElement)) return;
    /** @type {Record<string, string>} */
    const values = {};
    for (const [name, value] of new FormData(event.target)) values[name] = String(value).trim();
    this.isBusy = true;
    this.error = null;
    try {
      await question.work(values);
      this.querySelector('dialog')?.close();
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      this.error = error;
    } finally {
      this.isBusy = false;
    }
  }

  #closed() {
    this.question = null;
    this.settle();
  }
}

customElements.define('pf-dialog', DialogElement);

/** @param {Question} question */
export async function ask(question) {
  const dialog = document.querySelector('pf-dialog');
  if (dialog instanceof DialogElement) await dialog.ask(question);
}
