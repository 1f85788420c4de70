/** Keys for every verb: one letter on a page, `g` and a letter for a page. */

/** @typedef {{key: string, label: string, run: () => void}} Shortcut */

const SEQUENCE_MILLISECONDS = 1500;

class Shortcuts {
  /** @type {Map<object, () => Shortcut[]>} */
  #owners = new Map();
  #began = '';
  #timer = 0;

  constructor() {
    document.addEventListener('keydown', (event) => this.#pressed(event));
  }

  /**
   * Ask *list* for the keys that count while *owner* is there; call `drop` at its end.
   * @param {object} owner
   * @param {() => Shortcut[]} list
   */
  add(owner, list) {
    this.#owners.set(owner, list);
  }

  /** @param {object} owner */
  drop(owner) {
    this.#owners.delete(owner);
  }

  /** @param {object} owner */
  of(owner) {
    return this.#owners.get(owner)?.() ?? [];
  }

  /** Every key that counts now. */
  get all() {
    return [...this.#owners.values()].flatMap((list) => list());
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
    const target = event.composedPath()[0];
    // A screen that takes keys passes them on to its phone.
    if (target instanceof HTMLElement && target.matches('[data-keys]')) return;
    if (target instanceof HTMLElement && target.matches('input, textarea, select')) {
      if (event.key === 'Escape') target.blur();
      return;
    }
    const pressed = this.#began ? `${this.#began} ${event.key}` : event.key;
    clearTimeout(this.#timer);
    this.#began = '';
    const found = this.all.find((one) => one.key === pressed);
    if (found) {
      event.preventDefault();
      found.run();
    } else if (this.all.some((one) => one.key.startsWith(`${event.key} `))) {
      this.#began = event.key;
      this.#timer = window.setTimeout(() => {
        this.#began = '';
      }, SEQUENCE_MILLISECONDS);
    }
  }
}

export const shortcuts = new Shortcuts();
