/** Control messages of scrcpy 3.3.4, whole and big-endian, as its ControlMessageReader.java reads them. */

export const DOWN = 0;
export const UP = 1;
export const MOVE = 2;

/** Android's KeyEvent. */
export const KEYS = { back: 4, home: 3, recents: 187, wake: 224 };

/** @type {Record<string, number>} what keys of a keyboard are to Android */
const TYPED = {
  Enter: 66, Backspace: 67, Delete: 112, ArrowUp: 19, ArrowDown: 20, ArrowLeft: 21, ArrowRight: 22, Home: 122, End: 123,
  PageUp: 92, PageDown: 93,
};

const MOST_TEXT = 300;
const MOST_CLIPBOARD = 262_130;
const ASCII = /^[\x20-\x7e]*$/;

/** @param {number} size @param {(view: DataView) => void} fill */
function message(size, fill) {
  const bytes = new Uint8Array(size);
  fill(new DataView(bytes.buffer));
  return bytes;
}

/** @param {number} action @param {number} code */
const key = (action, code) =>
  message(14, (view) => {
    view.setUint8(1, action);
    view.setUint32(2, code);
  });

/** A key that is pressed and let go. @param {number} code */
export const press = (code) => [key(DOWN, code), key(UP, code)];

/** What a key of the keyboard does on the phone; none for one that types. @param {string} name */
export const pressNamed = (name) => (name in TYPED ? press(TYPED[name]) : []);

/**
 * @typedef {object} Point  in pixels of a frame of this size
 * @property {number} x
 * @property {number} y
 * @property {number} width
 * @property {number} height
 */

/** @param {DataView} view @param {number} at @param {Point} point */
function place(view, at, point) {
  view.setInt32(at, point.x);
  view.setInt32(at + 4, point.y);
  view.setUint16(at + 8, point.width);
  view.setUint16(at + 10, point.height);
}

/** @param {number} action @param {number} finger @param {Point} point */
export const touch = (action, finger, point) =>
  message(32, (view) => {
    view.setUint8(0, 2);
    view.setUint8(1, action);
    view.setBigUint64(2, BigInt(finger));
    place(view, 10, point);
    view.setUint16(22, action === UP ? 0 : 0xffff);
  });

/** @param {Point} point @param {number} right  steps @param {number} down  steps */
export function scroll(point, right, down) {
  // A fixed-point number from -1 to 1 that stands for 16 steps; up is positive.
  const steps = (/** @type {number} */ count) => Math.round(Math.max(-1, Math.min(1, count / 16)) * 0x7fff);
  return message(21, (view) => {
    view.setUint8(0, 3);
    place(view, 1, point);
    view.setInt16(13, steps(right));
    view.setInt16(15, steps(-down));
  });
}

/** @param {number} type @param {number} head  bytes before the length @param {string} text @param {number} most */
function withText(type, head, text, most) {
  const bytes = new TextEncoder().encode(text).slice(0, most);
  const whole = message(head + 4 + bytes.length, (view) => {
    view.setUint8(0, type);
    view.setUint32(head, bytes.length);
  });
  whole.set(bytes, head + 4);
  return whole;
}

let sequence = 0;

/** Sets the phone's clipboard, and pastes it where the cursor is. @param {string} text */
export function paste(text) {
  const whole = withText(9, 10, text, MOST_CLIPBOARD);
  const view = new DataView(whole.buffer);
  sequence += 1;
  view.setBigUint64(1, BigInt(sequence));
  view.setUint8(9, 1);
  return whole;
}

/** Types text. Android types ASCII only by keys, so that anything else is pasted. @param {string} text */
export const type = (text) => (ASCII.test(text) && text.length <= MOST_TEXT ? withText(1, 1, text, MOST_TEXT) : paste(text));

/** Asks for what was copied on the phone. */
export const askClipboard = () => message(2, (view) => view.setUint8(0, 8));

/** Turns the screen by 90 degrees. */
export const rotate = () => message(1, (view) => view.setUint8(0, 11));
