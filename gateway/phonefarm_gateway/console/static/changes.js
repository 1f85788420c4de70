/**
 * Tells pages what has changed: by verbs done here, and by the gateway's stream of the farm.
 *
 * The stream is open while the tab is seen: browsers allow six connections to a gateway over all
 * tabs, and each stream takes one.
 */

const AGAIN_MILLISECONDS = 5000;

/** @typedef {{topic: string, data: unknown}} Change  data: the thing as it is now, or null */

class Changes extends EventTarget {
  /** @type {EventSource | null} */
  #stream = null;
  #timer = 0;
  #isWanted = false;
  isLive = false;

  /**
   * Say that *topics* changed: `phone`, `process`, `account`, `incident`, ...
   * @param {...string} topics
   */
  tell(...topics) {
    for (const topic of topics) this.#tell(topic, null);
  }

  /** Follow the farm from now on, or no more. @param {boolean} isWanted */
  follow(isWanted) {
    if (!this.#isWanted && isWanted) document.addEventListener('visibilitychange', this.#seen);
    this.#isWanted = isWanted;
    this.#seen();
  }

  #seen = () => {
    const isNeeded = this.#isWanted && !document.hidden;
    clearTimeout(this.#timer);
    if (isNeeded && !this.#stream) this.#open();
    if (!isNeeded) this.#close();
  };

  #open() {
    const stream = new EventSource('/events');
    this.#stream = stream;
    stream.onopen = () => {
      this.isLive = true;
    };
    stream.onerror = () => {
      this.isLive = false;
      if (stream.readyState !== EventSource.CLOSED) return; // the browser connects again
      this.#close();
      this.#timer = window.setTimeout(this.#seen, AGAIN_MILLISECONDS);
    };
    stream.addEventListener('farm.reset', () => this.tell('phone', 'process', 'incident'));
    stream.addEventListener('phone.updated', (event) => this.#tell('phone', JSON.parse(event.data)));
    stream.addEventListener('process.moved', (event) => this.#tell('process', JSON.parse(event.data)));
    stream.addEventListener('incident.updated', (event) => this.#tell('incident', JSON.parse(event.data)));
  }

  #close() {
    this.#stream?.close();
    this.#stream = null;
    this.isLive = false;
  }

  /** @param {string} topic @param {unknown} data */
  #tell(topic, data) {
    this.dispatchEvent(new CustomEvent('changed', { detail: { topic, data } }));
  }
}

export const changes = new Changes();
