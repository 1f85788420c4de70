/** Calls the REST API of the gateway that served this page; the browser adds the session's cookie. */

/** @typedef {import('./rest.js').ProblemDocument} ProblemDocument */

/** A call failed: the gateway refused it, or did not answer (`status` 0). */
export class CallError extends Error {
  /**
   * @param {number} status
   * @param {Partial<ProblemDocument>} problem
   */
  constructor(status, problem) {
    super(problem.detail ?? `The gateway answered ${status}.`);
    this.status = status;
    this.reason = (problem.error ?? '').split(':')[0];
    this.errors = problem.errors ?? [];
  }

  /** Nobody knows whether the call was carried out; it is safe to repeat. */
  get isAway() {
    return this.status === 0 || this.status === 503;
  }
}

/** Sends `lost` when calls begin to fail for want of an answer, `found` when one works again. */
class Connection extends EventTarget {
  constructor() {
    super();
    /** @type {Date | null} */
    this.lostSince = null;
    /** @type {Date | null} */
    this.heardAt = null;
  }

  heard() {
    this.heardAt = new Date();
    if (this.lostSince) {
      this.lostSince = null;
      this.dispatchEvent(new Event('found'));
    }
  }

  lost() {
    if (!this.lostSince) {
      this.lostSince = new Date();
      this.dispatchEvent(new Event('lost'));
    }
  }
}

export const connection = new Connection();

const PATIENCE_MILLISECONDS = 15_000;
const FILE_PATIENCE_MILLISECONDS = 600_000;

/**
 * Makes one call; returns its JSON, or CallError. A 401 also sends `logged-out` to the window.
 * @template T
 * @param {string} method
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<T>}
 */
export async function call(method, path, body) {
  const response = await answerOf(method, path, body);
  return isJson(response) ? response.json() : /** @type {T} */ (null);
}

/**
 * Makes a call whose answer is a file, and saves that in the browser's downloads.
 * @param {string} method
 * @param {string} path
 * @param {string} name  of the file; when it is empty, the answer names it
 * @param {object} [body]
 */
export async function save(method, path, name, body) {
  const response = await answerOf(method, path, body, FILE_PATIENCE_MILLISECONDS);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(await wholeOf(response));
  link.download = name || (/filename="([\w.-]+)"/.exec(response.headers.get('Content-Disposition') ?? '')?.[1] ?? '');
  link.click();
  URL.revokeObjectURL(link.href);
}

/** @param {Response} response @returns {Promise<Blob>} */
async function wholeOf(response) {
  try {
    return await response.blob();
  } catch {
    throw new CallError(0, { detail: 'The file broke off. Try again.' });
  }
}

/** @param {Response} response */
const isJson = (response) => (response.headers.get('Content-Type') ?? '').includes('json');

/**
 * Returns the answer to a call that succeeded, its body not read yet.
 * @param {string} method
 * @param {string} path
 * @param {object} [body]
 * @param {number} [patience]  milliseconds until the end of the answer
 */
async function answerOf(method, path, body, patience = PATIENCE_MILLISECONDS) {
  /** @type {RequestInit} */
  const request = { method, credentials: 'same-origin', cache: 'no-store' };
  request.signal = AbortSignal.timeout(patience);
  if (body !== undefined) {
    request.headers = { 'Content-Type': 'application/json' };
    request.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, request);
  } catch {
    connection.lost();
    throw new CallError(0, { detail: 'The gateway does not answer.' });
  }
  if (response.ok) {
    connection.heard();
    return response;
  }
  const answer = isJson(response) ? await response.json() : null;
  const error = new CallError(response.status, answer ?? {});
  if (error.isAway) connection.lost();
  else connection.heard();
  if (error.status === 401) window.dispatchEvent(new Event('logged-out'));
  throw error;
}

/**
 * @template T
 * @param {string} path
 * @returns {Promise<T>}
 */
export const get = (path) => call('GET', path);

/**
 * Returns a query string of the values that are not empty; lists become repeated parameters.
 * @param {Record<string, string | number | string[] | null | undefined>} values
 */
export function query(values) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== '') parameters.append(name, String(one));
    }
  }
  const text = parameters.toString();
  return text && `?${text}`;
}

/**
 * Does *work* for each of *things*, at most *most* at once.
 * @template T
 * @param {T[]} things
 * @param {number} most
 * @param {(thing: T) => Promise<void>} work
 */
export async function eachOf(things, most, work) {
  const waiting = things.slice();
  const lane = async () => {
    for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) await work(one);
  };
  await Promise.all(Array.from({ length: most }, lane));
}
