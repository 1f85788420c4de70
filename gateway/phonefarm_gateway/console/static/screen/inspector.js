/** The inspector: click on a still to see the element under it, its selectors, and a line of an app profile. */

import { html, nothing } from '../vendor/lit.js';
import { CallError, get } from '../api.js';
import { Page } from '../parts.js';
import { words } from '../words.js';
import { elementAt, profileLine, selectorsOf } from './selectors.js';

/** @typedef {import('../rest.js').Inspection} Inspection */
/** @typedef {import('../rest.js').Node} Node */

const STATES = /** @type {const} */ (['clickable', 'scrollable', 'checked', 'selected', 'focused', 'password']);

class InspectorElement extends Page {
  static properties = {
    phoneId: {}, seen: { state: true }, chosen: { state: true }, error: { state: true }, isBusy: { state: true }, isCopied: { state: true },
  };

  constructor() {
    super();
    this.phoneId = '';
    /** @type {Inspection | null} */
    this.seen = null;
    this.chosen = -1;
    this.error = '';
    this.isBusy = false;
    this.isCopied = false;
    /** @type {HTMLImageElement | null} */
    this.picture = null;
  }

  firstUpdated() {
    this.#look();
  }

  async #look() {
    this.isBusy = true;
    this.error = '';
    try {
      /** @type {Inspection} */
      const seen = await get(`/phones/${encodeURIComponent(this.phoneId)}/inspection`);
      const picture = new Image();
      picture.src = `data:image/jpeg;base64,${seen.picture}`;
      await picture.decode();
      this.picture = picture;
      this.seen = seen;
      this.chosen = -1;
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      this.error = error.message;
    } finally {
      this.isBusy = false;
    }
  }

  updated() {
    const { seen, picture } = this;
    const context = this.querySelector('canvas')?.getContext('2d');
    if (!seen || !picture || !context) return;
    context.drawImage(picture, 0, 0, seen.width, seen.height);
    const node = seen.nodes[this.chosen];
    if (!node) return;
    const [left, top, right, bottom] = node.bounds;
    context.lineWidth = Math.max(3, seen.width / 180);
    context.strokeStyle = '#e0218a';
    context.fillStyle = '#e0218a33';
    context.fillRect(left, top, right - left, bottom - top);
    context.strokeRect(left, top, right - left, bottom - top);
  }

  render() {
    const { seen } = this;
    const says = words.inspector;
    return html`<div class="inspector">
      <div class="head"><h3>${says.heading}</h3><div class="verbs"><button type="button" ?disabled=${this.isBusy} @click=${() => this.#look()}>${says.again}</button></div></div>
      <p class="sub">${says.about}</p>
      ${this.error ? html`<div class="problem" role="alert"><p>${this.error}</p></div>` : nothing}
      ${seen?.tree_refused ? html`<p class="callout wait">${seen.tree_refused}</p>` : nothing}
      ${seen?.moved ? html`<p class="callout wait">${says.moved}</p>` : nothing}
      ${
        seen
          ? html`<div class="stage"><div class="view"><canvas width=${seen.width} height=${seen.height} role="img" aria-label=${says.picture}
              @click=${(/** @type {MouseEvent} */ event) => this.#choose(event, seen)}></canvas></div><div class="controls">${this.#element(seen)}${this.#list(seen)}</div></div>`
          : this.error ? nothing : html`<p class="pending" role="status">${words.shell.loading}</p>`
      }</div>`;
  }

  /** @param {MouseEvent} event @param {Inspection} seen */
  #choose(event, seen) {
    const { left, top, width, height } = /** @type {HTMLCanvasElement} */ (event.currentTarget).getBoundingClientRect();
    const x = ((event.clientX - left) / width) * seen.width;
    const y = ((event.clientY - top) / height) * seen.height;
    this.#show(elementAt(seen.nodes, x, y));
  }

  /** @param {number} index */
  #show(index) {
    this.chosen = index;
    this.isCopied = false;
  }

  /** @param {Inspection} seen */
  #element(seen) {
    const says = words.inspector;
    const node = seen.nodes[this.chosen];
    if (!node) return html`<p>${seen.nodes.length ? says.choose : nothing}</p>`;
    const line = profileLine(seen.nodes, this.chosen);
    /** @type {[string, string][]} */
    const facts = [
      [says.id, node.resource_id], [says.description, node.description], [says.text, node.text], [says.class, node.class_name],
      [says.bounds, node.bounds.join(', ')], [says.states, STATES.filter((state) => node[state]).join(', ')],
    ];
    return html`<div class="element" aria-live="polite"><dl class="facts">${facts.filter(([, value]) => value).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      <h4>${says.selectors}</h4><ul class="plain">${selectorsOf(seen.nodes, this.chosen).map((one) => html`<li><code>${one}</code></li>`)}</ul>
      <h4>${says.line}</h4><pre class="line-of-profile">${line}</pre>
      <p><button type="button" @click=${() => this.#copy(line)}>${this.isCopied ? words.shell.copied : says.copy}</button></p></div>`;
  }

  /** Every element that says something, for the keyboard. @param {Inspection} seen */
  #list(seen) {
    const named = seen.nodes.map((node, index) => ({ node, index })).filter(({ node }) => node.resource_id || node.text || node.description);
    if (!named.length) return nothing;
    return html`<label class="field"><span>${words.inspector.all(named.length)}</span>
      <select @change=${(/** @type {Event} */ event) => this.#show(Number(/** @type {HTMLSelectElement} */ (event.target).value))}>
        <option value="-1" ?selected=${this.chosen < 0}></option>
        ${named.map(({ node, index }) => html`<option value=${index} ?selected=${index === this.chosen}>${node.text || node.description || node.resource_id}</option>`)}</select></label>`;
  }

  /** @param {string} line */
  async #copy(line) {
    await navigator.clipboard.writeText(line);
    this.isCopied = true;
  }
}

customElements.define('pf-inspector', InspectorElement);
