/** Who is logged in, and what their key may do. */

import { CallError, call, get } from './api.js';

const AGAIN_MILLISECONDS = 2000;

/** @typedef {import('./rest.js').Session} SessionAnswer */

class CurrentSession extends EventTarget {
  constructor() {
    super();
    /** @type {SessionAnswer | null} */
    this.answer = null;
    this.isKnown = false;
    window.addEventListener('logged-out', () => this.#set(null));
  }

  /** Asks the gateway whether the browser has a session. */
  async load() {
    try {
      this.#set(await get('/console/session'));
    } catch (error) {
      // While the gateway is away nobody knows; the banner says so.
      if (error instanceof CallError && error.isAway) setTimeout(() => this.load(), AGAIN_MILLISECONDS);
      else this.#set(null);
    }
  }

  /** @param {string} key */
  async logIn(key) {
    this.#set(await call('POST', '/console/session', { key }));
  }

  async logOut() {
    await call('DELETE', '/console/session');
    this.#set(null);
  }

  /** @param {string} scope */
  may(scope) {
    return this.answer?.scopes.includes(scope) ?? false;
  }

  /** @param {SessionAnswer | null} answer */
  #set(answer) {
    this.answer = answer;
    this.isKnown = true;
    this.dispatchEvent(new Event('changed'));
  }
}

export const session = new CurrentSession();
