/** Pieces that several pages show. */

import { LitElement, html, nothing } from './vendor/lit.js';
import { page } from './router.js';
import { when } from './time.js';
import { spoken, words } from './words.js';

/** @typedef {import('./rest.js').Phone} Phone */
/** @typedef {import('./rest.js').ProcessRecord} ProcessRecord */
/** @typedef {import('./feed.js').Feed<any>} AnyFeed */
/** @typedef {'good' | 'busy' | 'wait' | 'bad' | 'idle'} Tone */

/** An element of a page: renders into the page itself, so that one style sheet and labels reach it. */
export class Page extends LitElement {
  createRenderRoot() {
    return this;
  }
}

/** @param {Tone} tone @param {string} text */
export const chip = (tone, text) => html`<span class="chip ${tone}">${text}</span>`;

/** @type {Record<string, Tone>} */
const STATUS_TONES = {
  queued: 'wait', executing: 'busy', retrying: 'wait', completed: 'good', failed_terminal: 'bad', cancelled: 'idle',
};

/** @param {string} status */
export const statusChip = (status) =>
  chip(STATUS_TONES[status] ?? 'idle', /** @type {Record<string, string>} */ (words.statuses)[status] ?? spoken(status));

export const ENDED = new Set(['completed', 'failed_terminal', 'cancelled']);

/** @typedef {keyof typeof words.phoneStates} PhoneState */

/** @type {Record<PhoneState, Tone>} */
const PHONE_TONES = {
  working: 'busy', ready: 'good', held: 'busy', hands: 'bad', quarantined: 'bad', resting: 'wait', offline: 'bad',
  unfit: 'bad', preparing: 'wait', maintenance: 'idle', draining: 'wait', new: 'idle', retired: 'idle', dirty: 'wait',
  waiting: 'wait',
};
export const PHONE_STATES = /** @type {PhoneState[]} */ (Object.keys(PHONE_TONES));

/** What the process of a person's hold is called. */
export const HOLD = 'hold';

/**
 * The one word for a phone that has many axes: what matters most to a person comes first.
 * @param {Phone} phone
 * @returns {PhoneState}
 */
export function stateOf(phone) {
  if (phone.health === 'retired') return 'retired';
  if (phone.needs_hands) return 'hands';
  if (phone.lease === 'leased') return phone.process_type === HOLD ? 'held' : 'working';
  if (phone.health === 'quarantined') return 'quarantined';
  if (phone.intent === 'new') return 'new';
  if (phone.intent === 'maintenance') return 'maintenance';
  if (phone.intent === 'draining') return 'draining';
  if (phone.lease === 'releasing' || phone.lease === 'dirty') return 'dirty';
  if (phone.transport !== 'online') return 'offline';
  if (phone.cooling_until) return 'resting';
  if (phone.readiness === 'unfit') return 'unfit';
  if (phone.offered) return 'ready';
  return phone.readiness === 'preparing' ? 'preparing' : 'waiting';
}

/** Whether a person should look at it. @param {Phone} phone */
export function isOut(phone) {
  return ['hands', 'quarantined', 'offline', 'unfit'].includes(stateOf(phone));
}

/** @param {Phone} phone */
export function stateChip(phone) {
  const state = stateOf(phone);
  return chip(PHONE_TONES[state], words.phoneStates[state]);
}

/** Whether *phone* has all words of *text* in one of its names. @param {Phone} phone @param {string} text @param {string[]} more */
export function hasText(phone, text, more = []) {
  const names = [phone.phone_id, phone.serialno, phone.adb_serial, phone.model, phone.agent_id, ...more].join(' ').toLowerCase();
  return text.toLowerCase().split(/\s+/).every((word) => names.includes(word));
}

/** @param {Phone} phone */
export const phoneName = (phone) => phone.serialno || phone.adb_serial || phone.phone_id;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-/i;

/** The first part of a UUID; another name as it is. @param {string} id */
export const short = (id) => (UUID.test(id) ? id.slice(0, 8) : id);

/** @param {string | null} id @param {string} [text] */
export const phoneLink = (id, text) => (id ? html`<a href=${page('phones', id)}>${text || short(id)}</a>` : nothing);

/** @param {string | null} id @param {string} [text] */
export const processLink = (id, text) =>
  id ? html`<a class="id" href=${page('work', id)} title=${id}>${text || short(id)}</a>` : nothing;

/** The first reason why a phone gets no work, with its remedy. @param {Phone} phone */
export function firstReason(phone) {
  const [first] = phone.reasons;
  const said = phone.needs_hands || first?.detail || '';
  if (!first && !said) return nothing;
  return html`<div class="reason"><span>${first ? spoken(first.reason) : spoken(said)}${
    first && said ? html`: ${said}` : nothing
  }${first?.until ? html`, ${words.phones.until} ${when(first.until, 'both')}` : nothing}</span>${
    first?.remedy ? html`<span class="remedy">${code(first.remedy)}</span>` : nothing
  }${phone.reasons.length > 1 ? html`<span class="more">+${phone.reasons.length - 1}</span>` : nothing}</div>`;
}

/** One line for an incident of a host. @param {import('./rest.js').Incident} one @param {boolean} [hasHost] */
export const incidentLine = (one, hasHost = false) => html`<li><div class="line"><b>${spoken(one.kind)}</b> ${
  one.ended_at ? chip('idle', words.hosts.over) : chip('bad', words.hosts.lasts)
} ${hasHost ? html`<span class="sub">${one.agent_id}</span>` : nothing}<span class="sub">${words.hosts.affected(one.phones.length)}, ${
  words.hosts.since
} ${when(one.began_at, 'both')}</span></div>${one.error ? html`<div class="sub">${one.error}</div>` : nothing}</li>`;

/** What a pause is about. @param {import('./rest.js').Pause} pause */
export const pauseName = (pause) => (pause.scope === 'all' ? words.queue.everything : `${spoken(pause.scope)} ${pause.name ?? ''}`);

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** How large a file or a disk is, with three digits. @param {number} bytes */
export function size(bytes) {
  const power = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), UNITS.length - 1);
  return `${(bytes / 1000 ** power).toLocaleString(undefined, { maximumSignificantDigits: 3 })} ${UNITS[power]}`;
}

/** Text in which what stands in backticks is code. @param {string} text */
export const code = (text) => text.split('`').map((part, index) => (index % 2 ? html`<code>${part}</code>` : part));

/** @param {string} heading @param {string} [more] */
export const empty = (heading, more) =>
  html`<div class="empty"><p class="strong">${heading}</p>${more ? html`<p>${code(more)}</p>` : nothing}</div>`;

/** What stands where a feed has nothing yet: that it loads, or why not. @param {AnyFeed} feed */
export function pending(feed) {
  if (!feed.error) return html`<p class="pending" role="status">${words.shell.loading}</p>`;
  return html`<div class="problem" role="alert"><p>${feed.error.message}</p>
    <button type="button" @click=${() => feed.refresh()}>${words.shell.retry}</button></div>`;
}

/**
 * A page's heading: its question, how old its data are, and what can be done.
 * @param {{title: unknown, asks?: string, feed?: AnyFeed, verbs?: unknown}} parts
 */
export const heading = ({ title, asks, feed, verbs }) => html`<header class="head">
  <div><h1 tabindex="-1">${title}</h1>${asks ? html`<p class="asks">${asks}</p>` : nothing}</div>
  ${feed ? html`<pf-age .feed=${feed} .at=${feed.at}></pf-age>` : nothing}
  ${verbs ? html`<div class="verbs">${verbs}</div>` : nothing}
</header>`;

/** How old the data of a feed are; marked once they should have been read again. */
class AgeElement extends Page {
  static properties = { feed: { attribute: false }, at: { attribute: false } };

  constructor() {
    super();
    /** @type {AnyFeed | null} */
    this.feed = null;
    /** @type {Date | null} */
    this.at = null;
    /** @type {number} */
    this.timer = 0;
  }

  connectedCallback() {
    super.connectedCallback();
    this.timer = window.setInterval(() => this.requestUpdate(), 1000);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearInterval(this.timer);
  }

  render() {
    const { at } = this;
    if (!this.feed || !at) return nothing;
    const isOld = Date.now() - at.getTime() > 3000 * this.feed.period;
    return html`<span class=${isOld ? 'age old' : 'age'}>${isOld ? words.shell.stale : words.shell.updated} ${when(at.toISOString())}</span>`;
  }
}

customElements.define('pf-age', AgeElement);

/** Rows that there are to show; more come when the end of the table is in view. */
const STEP = 100;

/** A Lit controller that shows long tables by steps. */
export class Steps {
  most = STEP;

  /** @param {import('./vendor/lit.js').ReactiveControllerHost} host */
  constructor(host) {
    this.host = host;
    this.watcher = new IntersectionObserver((seen) => {
      if (seen.some((one) => one.isIntersecting)) {
        this.most += STEP;
        this.host.requestUpdate();
      }
    });
    host.addController(this);
  }

  hostDisconnected() {
    this.watcher.disconnect();
  }

  hostUpdated() {
    this.watcher.disconnect();
    const end = /** @type {Element} */ (/** @type {unknown} */ (this.host)).querySelector('[data-end]');
    if (end) this.watcher.observe(end);
  }

  /**
   * @template T
   * @param {T[]} all
   */
  of(all) {
    return all.slice(0, this.most);
  }

  /** The last row of a table. @param {unknown[]} all @param {number} columns */
  end(all, columns) {
    return all.length > this.most ? html`<tr data-end><td colspan=${columns}>${this.#button()}</td></tr>` : nothing;
  }

  /** The last entry of a list. @param {unknown[]} all */
  more(all) {
    return all.length > this.most ? html`<li data-end>${this.#button()}</li>` : nothing;
  }

  #button() {
    return html`<button type="button" @click=${() => {
      this.most += STEP;
      this.host.requestUpdate();
    }}>${words.shell.more}</button>`;
  }
}
