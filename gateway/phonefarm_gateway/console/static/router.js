/** The address bar is the state of the console: pages are paths, filters are the query. */

const BASE = '/console';

/** Sends `moved` when the address has changed. */
class Router extends EventTarget {
  constructor() {
    super();
    window.addEventListener('popstate', () => this.dispatchEvent(new Event('moved')));
    document.addEventListener('click', (event) => this.#follow(event));
  }

  /** The path's parts behind /console. */
  get parts() {
    return location.pathname.slice(BASE.length).split('/').filter(Boolean).map(decodeURIComponent);
  }

  get query() {
    return new URLSearchParams(location.search);
  }

  /** @param {string} path */
  go(path) {
    history.pushState(null, '', path);
    window.scrollTo(0, 0);
    this.dispatchEvent(new Event('moved'));
  }

  /**
   * Replaces values of the query; an empty one goes.
   * @param {Record<string, string>} values
   */
  setQuery(values) {
    const next = this.query;
    for (const [name, value] of Object.entries(values)) {
      if (value) next.set(name, value);
      else next.delete(name);
    }
    this.replace(next.toString());
  }

  /** @param {string} text  the whole query */
  replace(text) {
    history.replaceState(null, '', location.pathname + (text && `?${text}`));
    this.dispatchEvent(new Event('filtered'));
  }

  /** @param {MouseEvent} event */
  #follow(event) {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.composedPath().find((node) => node instanceof HTMLAnchorElement);
    if (!(link instanceof HTMLAnchorElement) || link.origin !== location.origin) return;
    const isPage = link.pathname === BASE || link.pathname.startsWith(`${BASE}/`);
    if (!isPage || link.target || link.hasAttribute('download')) return;
    event.preventDefault();
    this.go(link.pathname + link.search);
  }
}

export const router = new Router();

/**
 * Returns the address of a page; each part is escaped.
 * @param {...string} parts
 */
export const page = (...parts) => [BASE, ...parts.map(encodeURIComponent)].join('/');
