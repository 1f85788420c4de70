/** The socket of one phone's screen. A hidden tab has none: nobody looks, and nothing is sent. */

import { connection } from '../api.js';

const AGAIN_MILLISECONDS = 3000;
const HEAD = 9;
const UNAUTHENTICATED = 4401;
const FORBIDDEN = 4403;

/** Reasons that no further try mends. */
const FINAL = ['screen_unavailable:screens_off', 'unknown_phone', 'insufficient_scope:watch'];

/**
 * @typedef {object} Owner
 * @property {(said: any) => void} said  a JSON message
 * @property {(data: Uint8Array<ArrayBuffer>, isKey: boolean, timestamp: number) => void} frame
 * @property {() => void} lost  it is closed; it opens again unless it `isOver`, once the tab is seen
 */

export class ScreenSocket {
  /** @type {WebSocket | null} */
  #socket = null;
  #timer = 0;
  #isWanted = false;
  isOver = false;

  /** @param {string} phoneId @param {Owner} owner */
  constructor(phoneId, owner) {
    this.path = `/phones/${encodeURIComponent(phoneId)}/screen`;
    this.owner = owner;
    this.mode = 'video';
    this.quality = 'normal';
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Follow the screen from now on. */
  open() {
    if (!this.#isWanted) document.addEventListener('visibilitychange', this.#seen);
    this.#isWanted = true;
    this.isOver = false;
    this.#seen();
  }

  close() {
    document.removeEventListener('visibilitychange', this.#seen);
    this.#isWanted = false;
    this.#seen();
  }

  /** Begin again, in another mode for example. */
  restart() {
    this.#drop();
    this.open();
  }

  /** @param {Uint8Array<ArrayBuffer>[]} messages */
  send(...messages) {
    if (this.isOpen) for (const one of messages) this.#socket?.send(one);
  }

  wantKeyFrame() {
    if (this.isOpen) this.#socket?.send(JSON.stringify({ type: 'key_frame' }));
  }

  #seen = () => {
    clearTimeout(this.#timer);
    const isNeeded = this.#isWanted && !this.isOver && !document.hidden;
    if (isNeeded && !this.#socket) this.#connect();
    if (!isNeeded) this.#drop();
  };

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.close();
    this.owner.lost();
  }

  #connect() {
    const socket = new WebSocket(location.origin.replace(/^http/, 'ws') + this.path);
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => socket.send(JSON.stringify({ type: 'open', mode: this.mode, quality: this.quality }));
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      connection.heard();
      if (typeof data === 'string') {
        const said = JSON.parse(data);
        if (FINAL.includes(said.reason)) this.isOver = true;
        this.owner.said(said);
        return;
      }
      const view = new DataView(data);
      this.owner.frame(new Uint8Array(data, HEAD), view.getUint8(0) === 1, Number(view.getBigUint64(1)));
    };
    socket.onclose = ({ code }) => {
      if (socket !== this.#socket) return;
      this.#socket = null;
      if (code === FORBIDDEN) this.isOver = true;
      if (code === UNAUTHENTICATED) window.dispatchEvent(new Event('logged-out'));
      this.owner.lost();
      this.#timer = window.setTimeout(this.#seen, AGAIN_MILLISECONDS);
    };
  }
}
