/** Times: local on the page, UTC on hover. */

import { LitElement, html } from './vendor/lit.js';
import { words } from './words.js';

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const DAY = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });
const YEAR = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' });

/** @param {number} seconds  returns `12 s`, `3 min`, `5 h`, `2 d` */
export function span(seconds) {
  const whole = Math.round(Math.abs(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d`;
}

/** @param {Date} at */
export function utc(at) {
  return `${at.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

/** @param {Date} at */
export function clock(at) {
  const now = new Date();
  if (at.toDateString() === now.toDateString()) return CLOCK.format(at);
  return (at.getFullYear() === now.getFullYear() ? DAY : YEAR).format(at);
}

/** @param {string | null | undefined} from @param {string | null | undefined} to */
export function took(from, to) {
  if (!from) return words.shell.none;
  return span(((to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000);
}

/** @type {Set<TimeElement>} */
const shown = new Set();
setInterval(() => {
  if (!document.hidden) for (const one of shown) one.requestUpdate();
}, 1000);

/** A moment: `how` is clock, ago (also for what is to come) or both. */
export class TimeElement extends LitElement {
  static properties = { at: {}, how: {} };

  constructor() {
    super();
    /** @type {string} */
    this.at = '';
    /** @type {string} */
    this.how = 'ago';
  }

  createRenderRoot() {
    return this;
  }

  connectedCallback() {
    super.connectedCallback();
    shown.add(this);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    shown.delete(this);
  }

  render() {
    const at = new Date(this.at);
    if (Number.isNaN(at.getTime())) return html`${words.shell.none}`;
    return html`<time datetime=${at.toISOString()} title=${utc(at)}>${this.#text(at)}</time>`;
  }

  /** @param {Date} at */
  #text(at) {
    if (this.how === 'clock') return clock(at);
    const seconds = (Date.now() - at.getTime()) / 1000;
    const ago =
      Math.abs(seconds) < 1 ? words.time.now : seconds > 0 ? words.time.ago(span(seconds)) : words.time.in(span(seconds));
    return this.how === 'both' ? `${clock(at)} (${ago})` : ago;
  }
}

customElements.define('pf-time', TimeElement);

/** @param {string | null | undefined} at @param {string} [how] */
export const when = (at, how = 'ago') => (at ? html`<pf-time .at=${at} .how=${how}></pf-time>` : html`${words.shell.none}`);
