/** A phone's live screen: anybody may watch; who holds the phone touches, types and pastes. */

import { html, nothing } from '../vendor/lit.js';
import { CallError, save } from '../api.js';
import { Page } from '../parts.js';
import { session } from '../session.js';
import { when } from '../time.js';
import { buttons } from '../verbs.js';
import { words } from '../words.js';
import { DOWN, KEYS, MOVE, UP, askClipboard, paste, press, pressNamed, rotate, scroll, touch, type } from './controls.js';
import './inspector.js';
import { Painter, cannotDecode } from './painter.js';
import { ScreenSocket } from './socket.js';

/** @typedef {import('../rest.js').Hold} Hold */
/** @typedef {import('../verbs.js').Verb} Verb */
/** @typedef {import('./painter.js').Info} Info */

const WATCH = 'watch';
const CONTROL = 'operate';
const HOLD_ENDED = 'hold_ended';
/** Pixels of a wheel's step. */
const WHEEL = 100;
/** Of a decoder, before stills are taken instead. */
const MOST_ERRORS = 3;

/** Why nothing is shown any more: in the words of the page, or those of the farm where they say more. @param {any} said */
function whyEnded(said) {
  const reason = said.reason.split(':').at(-1);
  const known = /** @type {Record<string, string>} */ (words.thumbnails.refused);
  return reason !== 'failed' && reason in known ? known[reason] : said.message;
}

class ScreenElement extends Page {
  static properties = {
    phoneId: {}, hold: { attribute: false }, verbs: { attribute: false }, watchers: { attribute: false }, info: { state: true }, trouble: { state: true },
    note: { state: true }, isInspecting: { state: true }, isLive: { state: true }, whyStills: { state: true },
  };

  constructor() {
    super();
    this.phoneId = '';
    /** @type {Hold | null} */
    this.hold = null;
    /** @type {Verb[]} hold or give back */
    this.verbs = [];
    /** @type {string[]} */
    this.watchers = [];
    /** @type {Info | null} */
    this.info = null;
    /** Why nothing is shown. */
    this.trouble = '';
    /** What the phone, or this page, says of the last input. */
    this.note = '';
    this.isInspecting = false;
    this.isLive = false;
    /** Why this browser asks for stills. */
    this.whyStills = '';
    /** @type {ScreenSocket | null} */
    this.socket = null;
    /** @type {Painter | null} */
    this.painter = null;
    /** @type {Set<number>} */
    this.fingers = new Set();
  }

  firstUpdated() {
    this.#begin();
  }

  connectedCallback() {
    super.connectedCallback();
    if (this.hasUpdated) this.#begin();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.socket?.close();
    this.painter?.close();
  }

  #begin() {
    if (!session.may(WATCH)) return;
    const canvas = this.querySelector('canvas');
    if (!canvas) return;
    const why = cannotDecode();
    this.whyStills = why && words.screen[why];
    const socket = new ScreenSocket(this.phoneId, {
      said: (said) => this.#said(said),
      frame: (data, isKey, timestamp) => void this.painter?.put(data, isKey, timestamp),
      lost: () => {
        this.isLive = false;
      },
    });
    if (why) socket.mode = 'stills';
    this.socket = socket;
    this.painter = new Painter(canvas, {
      wantKeyFrame: () => socket.wantKeyFrame(),
      painted: () => {
        if (!this.isLive) this.isLive = true;
        this.trouble = '';
      },
      broke: (error) => this.#broke(error),
    });
    socket.open();
  }

  /** @param {string} error */
  #broke(error) {
    const { painter, socket } = this;
    if (!painter || !socket) return;
    if (painter.errors >= MOST_ERRORS || !painter.info) {
      socket.mode = 'stills';
      this.whyStills = words.screen.broke(error);
    }
    socket.restart();
  }

  /** @param {any} said */
  #said(said) {
    switch (said.type) {
      case 'info':
        this.info = said;
        this.painter?.configure(said);
        break;
      case 'input_refused':
        this.note = said.message;
        // Before the farm's stream says it.
        if (said.reason === HOLD_ENDED) this.hold = null;
        break;
      case 'clipboard':
        this.#keep(said.text);
        break;
      case 'clipboard_set':
        this.note = words.screen.pasted;
        break;
      case 'ended':
        this.trouble = whyEnded(said);
        this.isLive = false;
        break;
    }
  }

  /** Whether input is sent at all; the agent checks the hold again at each message. */
  get mayTouch() {
    return this.hold?.state === 'EXECUTING' && session.may(CONTROL) && this.info?.mode === 'video' && this.isLive;
  }

  render() {
    const says = words.screen;
    if (!session.may(WATCH)) {
      return html`<section class="screen" aria-labelledby="screen"><h2 id="screen">${says.heading}</h2><p>${words.dialog.needs(WATCH)}</p>
        <div class="verbs">${buttons(this.verbs)}</div></section>`;
    }
    return html`<section class="screen" aria-labelledby="screen">
      <div class="head"><h2 id="screen">${says.heading}</h2><span class="sub" role="status">${this.#state()}</span></div>
      <div class="stage">${this.#picture()}<div class="controls">
        ${this.#holding()}
        <div class="verbs">${this.#phoneKeys()}</div>
        ${this.#typing()}
        <div class="verbs"><button type="button" @click=${() => this.#save()}>${says.still}</button>
          <button type="button" aria-pressed=${this.isInspecting ? 'true' : 'false'} @click=${() => { this.isInspecting = !this.isInspecting; }}>${says.inspect}</button></div>
        ${this.watchers.length ? html`<p class="sub">${words.screen.watchers}: ${this.watchers.join(', ')}</p>` : nothing}
        <p class="note" role="status">${this.note}</p>
      </div></div>
      ${this.isInspecting ? html`<pf-inspector .phoneId=${this.phoneId}></pf-inspector>` : nothing}
    </section>`;
  }

  #state() {
    const { info } = this;
    if (this.trouble) return words.screen.none;
    if (!this.isLive || !info) return words.screen.opening;
    return info.mode === 'video' ? words.screen.live(info.width, info.height) : words.screen.stills;
  }

  #picture() {
    const says = words.screen;
    const why = this.whyStills || this.info?.reason || '';
    return html`<div class="view"><canvas tabindex="0" role="application" aria-label=${this.mayTouch ? says.mine : says.watched} data-keys=${this.mayTouch ? 'mine' : nothing}
        class=${this.mayTouch ? 'mine' : ''} width="360" height="780"
        @pointerdown=${(/** @type {PointerEvent} */ event) => this.#finger(event, DOWN)} @pointermove=${(/** @type {PointerEvent} */ event) => this.#finger(event, MOVE)}
        @pointerup=${(/** @type {PointerEvent} */ event) => this.#finger(event, UP)} @pointercancel=${(/** @type {PointerEvent} */ event) => this.#finger(event, UP)}
        @wheel=${(/** @type {WheelEvent} */ event) => this.#wheel(event)} @keydown=${(/** @type {KeyboardEvent} */ event) => this.#typed(event)}
        @paste=${(/** @type {ClipboardEvent} */ event) => this.#pasted(event)}></canvas>
      ${this.trouble ? html`<p class="over">${this.trouble}</p>` : this.isLive ? nothing : html`<p class="over">${says.opening}</p>`}
      ${why ? html`<p class="sub">${why}</p>` : nothing}
      ${this.info?.warning ? html`<p class="callout wait">${this.info.warning}</p>` : nothing}</div>`;
  }

  #holding() {
    const { hold } = this;
    const says = words.screen;
    const state = !hold
      ? says.look
      : hold.state !== 'EXECUTING'
        ? words.phone.holdWaits
        : html`<b>${words.phone.held} ${when(hold.until, 'both')}</b>`;
    return html`<p>${state}</p><div class="verbs">${buttons(this.verbs)}</div>`;
  }

  #phoneKeys() {
    const says = words.screen;
    /** @type {[string, () => Uint8Array<ArrayBuffer>[]][]} */
    const keys = [
      [says.back, () => press(KEYS.back)],
      [says.home, () => press(KEYS.home)],
      [says.recents, () => press(KEYS.recents)],
      [says.wake, () => press(KEYS.wake)],
      [says.rotate, () => [rotate()]],
      [says.copy, () => [askClipboard()]],
    ];
    return keys.map(([label, made]) => html`<button type="button" ?disabled=${!this.mayTouch} @click=${() => this.#send(...made())}>${label}</button>`);
  }

  #typing() {
    const says = words.screen;
    return html`<form class="typing" @submit=${(/** @type {SubmitEvent} */ event) => this.#submit(event)}>
      <label for="screen-text">${says.text}</label>
      <div><input id="screen-text" type="text" autocomplete="off" spellcheck="false" ?disabled=${!this.mayTouch} />
        <button type="submit" ?disabled=${!this.mayTouch}>${says.send}</button></div>
      <p class="hint">${says.textHint}</p></form>`;
  }

  /** @param {Uint8Array<ArrayBuffer>[]} messages */
  #send(...messages) {
    if (!this.mayTouch) return;
    this.note = '';
    this.socket?.send(...messages);
  }

  /** Where on the phone's screen an event is. @param {MouseEvent} event */
  #point(event) {
    const canvas = /** @type {HTMLCanvasElement} */ (event.currentTarget);
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const within = (/** @type {number} */ part, /** @type {number} */ most) => Math.max(0, Math.min(most - 1, Math.round(part * most)));
    return {
      x: within((event.clientX - left) / width, canvas.width), y: within((event.clientY - top) / height, canvas.height),
      width: canvas.width, height: canvas.height,
    };
  }

  /** @param {PointerEvent} event @param {number} action */
  #finger(event, action) {
    const { pointerId } = event;
    if (action === DOWN) {
      if (!this.mayTouch || event.button !== 0) return;
      /** @type {HTMLCanvasElement} */ (event.currentTarget).setPointerCapture(pointerId);
      this.fingers.add(pointerId);
    } else if (!this.fingers.has(pointerId)) return;
    if (action === UP) this.fingers.delete(pointerId);
    this.#send(touch(action, pointerId, this.#point(event)));
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    if (!this.mayTouch) return;
    event.preventDefault();
    this.#send(scroll(this.#point(event), event.deltaX / WHEEL, event.deltaY / WHEEL));
  }

  /** @param {KeyboardEvent} event */
  #typed(event) {
    if (!this.mayTouch || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'Escape') {
      /** @type {HTMLElement} */ (event.currentTarget).blur();
      return;
    }
    const messages = [...event.key].length === 1 ? [type(event.key)] : pressNamed(event.key);
    if (!messages.length) return;
    event.preventDefault();
    this.#send(...messages);
  }

  /** @param {ClipboardEvent} event */
  #pasted(event) {
    const text = event.clipboardData?.getData('text/plain');
    if (!text) return;
    event.preventDefault();
    this.#send(paste(text));
  }

  /** @param {SubmitEvent} event */
  #submit(event) {
    event.preventDefault();
    const field = this.querySelector('input');
    if (!field?.value) return;
    this.#send(type(field.value));
    field.value = '';
  }

  /** @param {string} text */
  async #keep(text) {
    try {
      await navigator.clipboard.writeText(text);
      this.note = words.screen.copied;
    } catch {
      this.note = words.screen.copiedText(text);
    }
  }

  async #save() {
    try {
      const time = new Date().toISOString().slice(0, 19).replaceAll(':', '');
      await save('GET', `/phones/${encodeURIComponent(this.phoneId)}/still?format=png`, `${this.phoneId}-${time}.png`);
      this.note = '';
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      this.note = error.message;
    }
  }
}

customElements.define('pf-screen', ScreenElement);
