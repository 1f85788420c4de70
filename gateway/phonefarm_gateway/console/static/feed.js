/** Keeps what a page shows fresh, and knows how old it is. */

import { CallError, get } from './api.js';
import { changes } from './changes.js';

/** @typedef {import('./vendor/lit.js').ReactiveControllerHost} Host */
/** @typedef {import('./changes.js').Change} Change */

const LEAST_MILLISECONDS = 1000;
const LIVE_FACTOR = 3;
const NETWORK_EVENTS = ['online', 'offline'];

/**
 * A Lit controller: reads *path* while its element is shown, when one of *topics* changes, and at
 * least every *seconds* (less often while the gateway tells what changes), and when this computer
 * finds or loses its network; not while the tab is hidden. `patch` puts a change into the data, or returns null when they must be read again.
 * @template T
 */
export class Feed {
  /** @type {T | null} */
  data = null;
  /** @type {CallError | null} */
  error = null;
  /** @type {Date | null} */
  at = null;
  /** @type {string | null} */
  #shown = null;
  #timer = 0;
  #readAt = 0;
  #isReading = false;
  #isWanted = false;

  /**
   * @param {Host} host
   * @param {() => string | null} path  null: nothing to read now
   * @param {{seconds?: number, topics?: string[], load?: (path: string) => Promise<T>,
   *   patch?: (data: T, change: Change) => T | null}} [options]
   */
  constructor(host, path, { seconds = 5, topics = [], load = get, patch = () => null } = {}) {
    this.host = host;
    this.path = path;
    this.seconds = seconds;
    this.topics = new Set(topics);
    this.load = load;
    this.patch = patch;
    host.addController(this);
  }

  /** After how many seconds it is read again: soon when the gateway did not answer. */
  get period() {
    return changes.isLive && !this.error?.isAway ? this.seconds * LIVE_FACTOR : this.seconds;
  }

  hostConnected() {
    changes.addEventListener('changed', this.#changed);
    document.addEventListener('visibilitychange', this.#seen);
    for (const name of NETWORK_EVENTS) window.addEventListener(name, this.#seen);
    this.refresh();
  }

  hostDisconnected() {
    changes.removeEventListener('changed', this.#changed);
    document.removeEventListener('visibilitychange', this.#seen);
    for (const name of NETWORK_EVENTS) window.removeEventListener(name, this.#seen);
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#isWanted = false;
  }

  hostUpdated() {
    if (this.path() !== this.#shown && !this.#isReading) this.refresh();
  }

  /** Reads now, or as soon as the reading under way has ended. */
  async refresh() {
    if (this.#isReading) {
      this.#isWanted = true;
      return;
    }
    clearTimeout(this.#timer);
    const path = this.path();
    if (path !== this.#shown) {
      this.#shown = path;
      this.data = null;
      this.error = null;
      this.at = null;
    }
    if (path === null) return;
    this.#isReading = true;
    this.#isWanted = false;
    this.#readAt = Date.now();
    try {
      const data = await this.load(path);
      if (path === this.path()) {
        this.data = data;
        this.error = null;
        this.at = new Date();
      }
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      this.error = error;
    } finally {
      this.#isReading = false;
    }
    this.host.requestUpdate();
    this.#plan(this.#isWanted || path !== this.path() ? 0 : this.period * 1000);
  }

  /** @param {number} milliseconds */
  #plan(milliseconds) {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => {
      if (!document.hidden) this.refresh();
    }, milliseconds);
  }

  /** @param {Event} event */
  #changed = (event) => {
    if (!(event instanceof CustomEvent)) return;
    /** @type {Change} */
    const change = event.detail;
    if (!this.topics.has(change.topic)) return;
    const patched = this.data && change.data ? this.patch(this.data, change) : null;
    if (patched) {
      this.data = patched;
      this.host.requestUpdate();
      return;
    }
    // Several changes become one reading.
    this.#plan(Math.max(0, LEAST_MILLISECONDS - (Date.now() - this.#readAt)));
  };

  #seen = () => {
    if (!document.hidden) this.refresh();
  };
}

/**
 * Reads the phones; a change of one is put in its place.
 * @param {Host} host
 * @param {number} [seconds]
 * @returns {Feed<import('./rest.js').PhoneList>}
 */
export const phonesFeed = (host, seconds = 5) =>
  new Feed(host, () => '/phones', {
    seconds,
    topics: ['phone', 'incident'],
    patch: (list, { topic, data }) => {
      if (topic !== 'phone') return null;
      const changed = /** @type {import('./rest.js').Phone} */ (data);
      const isKnown = list.phones.some((one) => one.phone_id === changed.phone_id);
      if (!isKnown) return null;
      return { ...list, phones: list.phones.map((one) => (one.phone_id === changed.phone_id ? changed : one)) };
    },
  });
