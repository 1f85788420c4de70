/** Paints what a phone sends onto a canvas: H.264 by WebCodecs, or JPEG. */

/** @typedef {{mode: string, codec: string, width: number, height: number, reason: string | null, warning: string | null}} Info */

/** Frames that may wait for the decoder; with more it skips to the next key frame. */
const MOST_QUEUED = 3;

/** Why this browser decodes no video; empty when it does. @returns {'' | 'noCodecs' | 'insecure'} */
export function cannotDecode() {
  if (typeof VideoDecoder === 'function') return '';
  return isSecureContext ? 'noCodecs' : 'insecure';
}

export class Painter {
  /** @type {VideoDecoder | null} */
  #decoder = null;
  /** @type {Info | null} */
  info = null;
  /** Counts for whoever measures. */
  painted = 0;
  skipped = 0;
  errors = 0;
  #needsKey = true;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{wantKeyFrame: () => void, painted: () => void, broke: (error: string) => void}} owner
   */
  constructor(canvas, owner) {
    this.canvas = canvas;
    this.owner = owner;
  }

  /** Frames that wait for the decoder. */
  get queued() {
    return this.#decoder?.decodeQueueSize ?? 0;
  }

  /** @param {Info} info */
  configure(info) {
    this.info = info;
    this.close();
    if (info.mode === 'stills') return;
    try {
      const decoder = new VideoDecoder({
        output: (frame) => this.#show(frame, frame.displayWidth, frame.displayHeight, () => frame.close()),
        error: (error) => this.#broke(decoder, error.message),
      });
      this.#decoder = decoder;
      decoder.configure({ codec: info.codec, optimizeForLatency: true });
    } catch (error) {
      this.owner.broke(String(error));
    }
  }

  /** @param {Uint8Array<ArrayBuffer>} data @param {boolean} isKey @param {number} timestamp */
  async put(data, isKey, timestamp) {
    if (this.info?.mode === 'stills') {
      const picture = await createImageBitmap(new Blob([data], { type: 'image/jpeg' }));
      this.#show(picture, picture.width, picture.height, () => picture.close());
      return;
    }
    const decoder = this.#decoder;
    if (!decoder || decoder.state !== 'configured') return;
    if (!isKey && !this.#needsKey && decoder.decodeQueueSize > MOST_QUEUED) {
      this.#needsKey = true;
      this.owner.wantKeyFrame();
    }
    if (this.#needsKey && !isKey) {
      this.skipped += 1;
      return;
    }
    this.#needsKey = false;
    try {
      decoder.decode(new EncodedVideoChunk({ type: isKey ? 'key' : 'delta', timestamp, data }));
    } catch (error) {
      this.#broke(decoder, String(error));
    }
  }

  close() {
    if (this.#decoder && this.#decoder.state !== 'closed') this.#decoder.close();
    this.#decoder = null;
    this.#needsKey = true;
  }

  /** @param {CanvasImageSource} picture @param {number} width @param {number} height @param {() => void} done */
  #show(picture, width, height, done) {
    const { canvas } = this;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    canvas.getContext('2d', { alpha: false })?.drawImage(picture, 0, 0);
    done();
    this.painted += 1;
    this.owner.painted();
  }

  /** @param {VideoDecoder} decoder @param {string} error */
  #broke(decoder, error) {
    if (decoder !== this.#decoder) return;
    this.errors += 1;
    this.close();
    this.owner.broke(error);
  }
}
