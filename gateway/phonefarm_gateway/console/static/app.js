/** The shell: login, menu, banner, keys, and the page that the address names. */

import { html, nothing } from './vendor/lit.js';
import { CallError, connection } from './api.js';
import { changes } from './changes.js';
import './pages/login.js';
import { Page, heading } from './parts.js';
import { page, router } from './router.js';
import './search.js';
import { session } from './session.js';
import { shortcuts } from './shortcuts.js';
import { when } from './time.js';
import { words } from './words.js';

/** @typedef {keyof typeof words.pages} PageName */

/** @type {{name: PageName, path: string[], key: string}[]} */
const MENU = [
  { name: 'now', path: [], key: 'n' },
  { name: 'phones', path: ['phones'], key: 'p' },
  { name: 'work', path: ['work'], key: 'w' },
  { name: 'queue', path: ['queue'], key: 'q' },
  { name: 'schedules', path: ['schedules'], key: 'c' },
  { name: 'hosts', path: ['hosts'], key: 'h' },
  { name: 'accounts', path: ['accounts'], key: 'a' },
  { name: 'audit', path: ['audit'], key: 'u' },
  { name: 'settings', path: ['settings'], key: 's' },
];

/**
 * What shows each page, and what loads it when somebody first opens it.
 * @type {Record<Exclude<PageName, 'unknown'>, {load: () => Promise<unknown>, show: (id: string) => unknown}>}
 */
const PAGES = {
  now: { load: () => import('./pages/now.js'), show: () => html`<pf-now></pf-now>` },
  phones: { load: () => import('./pages/phones.js'), show: () => html`<pf-phones></pf-phones>` },
  phone: { load: () => import('./pages/phone.js'), show: (id) => html`<pf-phone .phoneId=${id}></pf-phone>` },
  work: { load: () => import('./pages/work.js'), show: () => html`<pf-work></pf-work>` },
  process: { load: () => import('./pages/process.js'), show: (id) => html`<pf-process .processId=${id}></pf-process>` },
  queue: { load: () => import('./pages/queue.js'), show: () => html`<pf-queue></pf-queue>` },
  schedules: { load: () => import('./pages/schedules.js'), show: () => html`<pf-schedules></pf-schedules>` },
  hosts: { load: () => import('./pages/hosts.js'), show: () => html`<pf-hosts></pf-hosts>` },
  accounts: { load: () => import('./pages/accounts.js'), show: () => html`<pf-accounts></pf-accounts>` },
  audit: { load: () => import('./pages/audit.js'), show: () => html`<pf-audit></pf-audit>` },
  settings: { load: () => import('./pages/settings.js'), show: () => html`<pf-settings></pf-settings>` },
};

/** @returns {{name: PageName, menu: PageName, id: string}} */
function place() {
  const [first = '', id = '', ...rest] = router.parts;
  if (!first) return { name: 'now', menu: 'now', id };
  const found = MENU.find((one) => one.path[0] === first);
  if (!found || rest.length) return { name: 'unknown', menu: 'unknown', id };
  if (!id) return { name: found.name, menu: found.name, id };
  if (first === 'phones') return { name: 'phone', menu: 'phones', id };
  if (first === 'work') return { name: 'process', menu: 'work', id };
  return { name: 'unknown', menu: 'unknown', id };
}

class AppElement extends Page {
  static properties = { isMenuOpen: { state: true } };

  constructor() {
    super();
    this.isMenuOpen = false;
    this.hasMoved = false;
    /** @type {Map<PageName, 'loading' | 'loaded' | 'failed'>} */
    this.pages = new Map([['unknown', 'loaded']]);
  }

  connectedCallback() {
    super.connectedCallback();
    router.addEventListener('moved', this.#moved);
    router.addEventListener('filtered', this.#changed);
    session.addEventListener('changed', this.#changed);
    session.addEventListener('changed', () => changes.follow(session.answer !== null));
    connection.addEventListener('lost', this.#changed);
    connection.addEventListener('found', this.#changed);
    shortcuts.add(this, () =>
      session.answer
        ? [
            ...MENU.map(({ name, path, key }) => ({
              key: `g ${key}`, label: `${words.help.go} ${words.pages[name].name}`, run: () => router.go(page(...path)),
            })),
            { key: '?', label: words.help.help, run: () => this.#help?.showModal() },
          ]
        : [],
    );
    session.load();
  }

  get #help() {
    return /** @type {HTMLDialogElement | null} */ (this.querySelector('dialog.help'));
  }

  #changed = () => this.requestUpdate();

  #moved = () => {
    this.isMenuOpen = false;
    this.hasMoved = true;
    this.#help?.close();
    this.requestUpdate();
  };

  willUpdate() {
    void this.#load(place().name);
  }

  /** @param {PageName} name */
  async #load(name) {
    if (name === 'unknown' || this.pages.has(name)) return;
    this.pages.set(name, 'loading');
    try {
      await PAGES[name].load();
      this.pages.set(name, 'loaded');
    } catch (error) {
      console.error(error);
      this.pages.set(name, 'failed');
    }
    this.requestUpdate();
  }

  async updated() {
    if (!this.hasMoved || this.pages.get(place().name) === 'loading') return;
    // Say to screen readers, and to the next Tab, where we are now.
    this.hasMoved = false;
    await Promise.resolve();
    const title = this.querySelector('main h1');
    if (title instanceof HTMLElement) title.focus({ preventScroll: true });
  }

  render() {
    if (!session.isKnown) {
      return html`${this.#banner()}<p class="pending" role="status">${words.shell.starting}</p>`;
    }
    if (!session.answer) {
      document.title = `${words.login.heading} · ${words.title}`;
      return html`${this.#banner()}<pf-login></pf-login>`;
    }
    const { name, menu, id } = place();
    const own = words.pages[name].name;
    document.title = `${id ? `${id.slice(0, 8)} · ` : ''}${own} · ${words.title}`;
    return html`<a class="skip" href="#main" @click=${(/** @type {Event} */ event) => this.#skip(event)}>${words.shell.skip}</a>
      <header class="top">
        <button type="button" class="burger" aria-expanded=${this.isMenuOpen ? 'true' : 'false'} aria-controls="menu"
          @click=${() => { this.isMenuOpen = !this.isMenuOpen; }}><span aria-hidden="true">☰</span><span class="hidden">${words.shell.menu}</span></button>
        <a class="brand" href=${page()}>${words.title}</a>
        <pf-search></pf-search>
        <div class="who">
          <button type="button" class="quiet" title=${words.shell.help} aria-label=${words.shell.help} @click=${() => this.#help?.showModal()}>?</button>
          <span class="name" title=${words.shell.loggedInAs(session.answer.name)}>${session.answer.name}</span>
          <button type="button" class="quiet" @click=${() => this.#logOut()}>${words.shell.logOut}</button>
        </div>
      </header>
      <nav id="menu" class=${this.isMenuOpen ? 'open' : ''} aria-label=${words.shell.menu}>
        <ul>${MENU.map((one) => html`<li><a href=${page(...one.path)} aria-current=${one.name === menu ? 'page' : nothing}>
          ${words.pages[one.name].name}<kbd aria-hidden="true">g ${one.key}</kbd></a></li>`)}</ul>
        <a class="docs" href="/docs" target="_blank" rel="noopener">${words.shell.docs}</a>
      </nav>
      ${this.#banner()}
      <main id="main" tabindex="-1">${this.#page(name, id)}</main>
      <pf-dialog></pf-dialog>
      ${this.#helpDialog()}`;
  }

  #banner() {
    const { lostSince } = connection;
    return html`<div class="banner-place" role="alert">${
      lostSince
        ? html`<p class="banner">${words.shell.lost}${when(lostSince.toISOString(), 'both')}${words.shell.trying}</p>`
        : nothing
    }</div>`;
  }

  /** @param {PageName} name @param {string} id */
  #page(name, id) {
    const { name: title, asks } = words.pages[name];
    const state = this.pages.get(name);
    if (name === 'unknown') return heading({ title, asks });
    if (state === 'loaded') return PAGES[name].show(id);
    return html`${heading({ title })}${
      state === 'failed'
        ? html`<div class="problem" role="alert"><p>${words.shell.notLoaded}</p>
            <button type="button" @click=${() => location.reload()}>${words.shell.reload}</button></div>`
        : html`<p class="pending" role="status">${words.shell.loading}</p>`
    }`;
  }

  #helpDialog() {
    const everywhere = [
      ...shortcuts.of(this.querySelector('pf-search') ?? {}),
      ...shortcuts.of(this),
      { key: 'Esc', label: words.help.escape },
    ];
    const known = new Set(everywhere.map((one) => one.key));
    const here = shortcuts.all.filter((one) => !known.has(one.key));
    /** @param {{key: string, label: string}[]} list */
    const table = (list) =>
      html`<dl class="keys">${list.map((one) => html`<div><dt>${one.key.split(' ').map((key) => html`<kbd>${key}</kbd> `)}</dt><dd>${one.label}</dd></div>`)}</dl>`;
    return html`<dialog class="help" aria-labelledby="help-title" @toggle=${() => this.requestUpdate()}>
      <h2 id="help-title">${words.help.heading}</h2>
      ${here.length ? html`<h3>${words.help.here}</h3>${table(here)}<h3>${words.help.everywhere}</h3>` : nothing}
      ${table(everywhere)}
      <footer><button type="button" class="primary" @click=${() => this.#help?.close()}>${words.shell.close}</button></footer>
    </dialog>`;
  }

  async #logOut() {
    try {
      await session.logOut();
    } catch (error) {
      if (!(error instanceof CallError)) throw error; // the banner says that the gateway is away
    }
  }

  /** @param {Event} event */
  #skip(event) {
    event.preventDefault();
    this.querySelector('main')?.focus();
  }
}

customElements.define('pf-app', AppElement);
