/** Small pictures of the phones that are in view, by one socket for the tab. */

import { html, nothing } from '../vendor/lit.js';
import { Page } from '../parts.js';
import { session } from '../session.js';
import { when } from '../time.js';
import { spoken, words } from '../words.js';

const AGAIN_MILLISECONDS = 5000;
const SETTLE_MILLISECONDS = 200;
const WATCH = 'watch';
const UNAUTHENTICATED = 4401;
const FORBIDDEN = 4403;
/** @type {Record<string, string>} */
const REFUSED = words.thumbnails.refused;

/** @typedef {{phone_id: string, taken_at: string | null, source: string, refused: string | null}} About */

class Thumbnails {
  /** @type {Map<string, ThumbnailElement>} those in view */
  #shown = new Map();
  /** @type {WebSocket | null} */
  #socket = null;
  #timer = 0;
  #isOver = false;

  constructor() {
    document.addEventListener('visibilitychange', () => this.#plan(0));
  }

  /** @param {ThumbnailElement} element */
  add(element) {
    this.#shown.set(element.phoneId, element);
    this.#plan(SETTLE_MILLISECONDS);
  }

  /** @param {ThumbnailElement} element */
  drop(element) {
    if (this.#shown.get(element.phoneId) === element) this.#shown.delete(element.phoneId);
    this.#plan(SETTLE_MILLISECONDS);
  }

  /** @param {number} milliseconds */
  #plan(milliseconds) {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.#follow(), milliseconds);
  }

  #follow() {
    const isNeeded = this.#shown.size > 0 && !document.hidden && !this.#isOver && session.may(WATCH);
    if (!isNeeded) {
      this.#socket?.close();
      this.#socket = null;
    } else if (!this.#socket) this.#connect();
    else if (this.#socket.readyState === WebSocket.OPEN) this.#ask();
  }

  #ask() {
    this.#socket?.send(JSON.stringify({ type: 'show', phone_ids: [...this.#shown.keys()] }));
  }

  #connect() {
    const socket = new WebSocket(`${location.origin.replace(/^http/, 'ws')}/thumbnails`);
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => this.#ask();
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket || typeof data === 'string') return;
      const length = new DataView(data).getUint16(0);
      /** @type {About} */
      const about = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 2, length)));
      this.#shown.get(about.phone_id)?.show(about, new Blob([new Uint8Array(data, 2 + length)], { type: 'image/jpeg' }));
    };
    socket.onclose = ({ code }) => {
      if (socket !== this.#socket) return;
      this.#socket = null;
      this.#isOver = code === FORBIDDEN;
      if (code === UNAUTHENTICATED) window.dispatchEvent(new Event('logged-out'));
      else this.#plan(AGAIN_MILLISECONDS);
    };
  }
}

const thumbnails = new Thumbnails();

/** One phone's small picture; asked for while it is in view. */
export class ThumbnailElement extends Page {
  static properties = { phoneId: {}, name: {}, about: { state: true } };

  constructor() {
    super();
    this.phoneId = '';
    this.name = '';
    /** @type {About | null} */
    this.about = null;
    this.url = '';
    this.watcher = new IntersectionObserver((seen) => {
      if (seen.some((one) => one.isIntersecting)) thumbnails.add(this);
      else thumbnails.drop(this);
    });
  }

  connectedCallback() {
    super.connectedCallback();
    this.watcher.observe(this);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.watcher.disconnect();
    thumbnails.drop(this);
    URL.revokeObjectURL(this.url);
    this.url = '';
    this.about = null;
  }

  /** @param {About} about @param {Blob} picture */
  show(about, picture) {
    this.about = about;
    if (about.refused) return;
    URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(picture);
  }

  render() {
    const { about } = this;
    const says = words.thumbnails;
    if (this.url && about) {
      return html`<img src=${this.url} alt=${says.of(this.name)} />
        ${about.source === 'evidence' ? html`<span class="sub">${says.evidence} ${when(about.taken_at)}</span>` : nothing}`;
    }
    const why = about?.refused ? (REFUSED[about.refused.split(':')[0]] ?? spoken(about.refused)) : says.coming;
    return html`<span class="none">${session.may(WATCH) ? why : words.dialog.needs(WATCH)}</span>`;
  }
}

customElements.define('pf-thumbnail', ThumbnailElement);
