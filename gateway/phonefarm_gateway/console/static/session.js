/** Who is logged in, and what their key may do. */

import { CallError, call, get } from './api.js';

const AGAIN_MILLISECONDS = 2000;

/** @typedef {import('./rest.js').Session} SessionAnswer */

const TICKET = /^#ticket=([\w-]+)$/;

/** Returns the ticket in the address, and takes it out of there and of the browser's history. */
function takenTicket() {
  const found = TICKET.exec(location.hash)?.[1] ?? '';
  if (found) history.replaceState(null, '', location.pathname + location.search);
  return found;
}

class CurrentSession extends EventTarget {
  #ticket = '';

  constructor() {
    super();
    /** @type {SessionAnswer | null} */
    this.answer = null;
    this.isKnown = false;
    /** Why the link that led here did not log in. */
    this.refusal = '';
    window.addEventListener('logged-out', () => {
      if (this.isKnown) this.#set(null); // otherwise `load` is still asking
    });
  }

  /** Asks the gateway whether the browser has a session; without one, the ticket of a link counts. */
  async load() {
    this.#ticket ||= takenTicket();
    try {
      this.#set(await get('/console/session'));
    } catch (error) {
      // While the gateway is away nobody knows; the banner says so.
      if (error instanceof CallError && error.isAway) setTimeout(() => this.load(), AGAIN_MILLISECONDS);
      else if (this.#ticket) await this.#useTicket();
      else this.#set(null);
    }
  }

  async #useTicket() {
    const ticket = this.#ticket;
    this.#ticket = '';
    try {
      this.#set(await call('POST', '/console/session', { ticket }));
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      this.refusal = error.message;
      this.#set(null);
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
    if (answer) this.refusal = '';
    this.answer = answer;
    this.isKnown = true;
    this.dispatchEvent(new Event('changed'));
  }
}

export const session = new CurrentSession();
