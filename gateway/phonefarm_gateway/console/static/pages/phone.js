/** One phone: what keeps work from it, its stages and axes, its last work, and its verbs. */

import { html, nothing } from '../vendor/lit.js';
import { get, query } from '../api.js';
import { Feed } from '../feed.js';
import { HOLD, Page, chip, code, empty, heading, pending, phoneName, processLink, size, stateChip, statusChip } from '../parts.js';
import { page } from '../router.js';
import { shortcuts } from '../shortcuts.js';
import { took, when } from '../time.js';
import { buttons, keysOf, phoneVerbs } from '../verbs.js';
import '../screen/screen.js';
import { watchersOf } from '../screen/watchers.js';
import { spoken, words } from '../words.js';

/** @typedef {import('../rest.js').PhoneDetails} Details */
/** @typedef {import('../rest.js').Phone} Phone */
/** @typedef {import('../rest.js').Hold} Hold */
/** @typedef {{details: Details, hold: Hold | null}} Whole */

const LAST = 15;
const SHOWN = 6;
const UNKNOWN = 404;
/** @type {Record<string, import('../parts.js').Tone>} */
const STAGES = { passed: 'good', ok: 'good', failed: 'bad', running: 'busy', waiting: 'wait' };

/** Holding a phone stands beside its screen. @param {import('../verbs.js').Verb} verb */
const isHolding = (verb) => [words.verbs.hold.label, words.verbs.unhold.label].includes(verb.label);

/** What was looked at stands in the audit; it is nothing that was done to a phone. */
const LOOKS = new Set(['watch', 'watch_end', 'take_still']);

class PhonePage extends Page {
  static properties = { phoneId: {} };

  constructor() {
    super();
    this.phoneId = '';
    /** @type {Feed<Whole>} */
    this.phone = new Feed(this, () => this.phoneId && `/phones/${encodeURIComponent(this.phoneId)}`, {
      topics: ['phone', 'incident', 'agent'],
      load: async (path) => {
        /** @type {Details} */
        const details = await get(path);
        const { process_id: id, process_type: type } = details.phone;
        return { details, hold: id && type === HOLD ? await get(`/holds/${id}`) : null };
      },
    });
    /** @type {Feed<import('../rest.js').AccountList>} */
    this.accounts = new Feed(this, () => '/accounts', { topics: ['account'], seconds: 15 });
    /** @type {Feed<import('../rest.js').ProcessList>} */
    this.work = new Feed(this, () => this.phoneId && `/processes${query({ phone_id: this.phoneId, limit: LAST })}`, {
      topics: ['process'],
    });
  }

  connectedCallback() {
    super.connectedCallback();
    shortcuts.add(this, () => keysOf(this.#verbs));
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    shortcuts.drop(this);
  }

  get #verbs() {
    return this.phone.data ? phoneVerbs(this.phone.data.details.phone) : [];
  }

  render() {
    if (!this.phone.data) {
      const isUnknown = this.phone.error?.status === UNKNOWN;
      return html`${heading({ title: words.pages.phone.name })}
        ${isUnknown ? empty(words.phone.unknown, words.phone.unknownMore) : pending(this.phone)}`;
    }
    const { details, hold } = this.phone.data;
    const { phone } = details;
    const verbs = this.#verbs;
    return html`${heading({
      title: html`${phoneName(phone)} ${stateChip(phone)}`, asks: words.pages.phone.asks, feed: this.phone, verbs: buttons(verbs.filter((verb) => !isHolding(verb))),
    })}
      <pf-screen .phoneId=${phone.phone_id} .hold=${hold} .verbs=${verbs.filter(isHolding)} .watchers=${watchersOf(details.audit)}></pf-screen>
      <div class="columns"><div>${this.#why(phone, hold)}${this.#work()}${this.#failures(details)}${this.#history(details)}</div>
        <div>${this.#facts(details)}${this.#stages(details)}${this.#accounts(phone)}</div></div>`;
  }

  /** @param {Phone} phone @param {Hold | null} hold */
  #why(phone, hold) {
    return html`<section aria-labelledby="why"><h2 id="why">${words.phone.why}</h2>
      ${
        hold
          ? html`<p class="callout busy">${hold.until ? html`<b>${words.phone.held} ${when(hold.until, 'both')}</b>` : words.phone.holdWaits}
              ${hold.address ? html`<span class="remedy">${words.phone.adb}: <code>${hold.address}</code></span>` : nothing}</p>`
          : phone.process_id
            ? html`<p>${words.phone.working} ${processLink(phone.process_id, phone.process_type ? spoken(phone.process_type) : undefined)}${phone.account_id ? html` <span class="sub">${phone.account_id}</span>` : nothing}</p>`
            : nothing
      }
      ${phone.needs_hands ? html`<p class="callout bad"><b>${words.phoneStates.hands}:</b> ${phone.needs_hands}${phone.needs_hands_since ? html`, ${when(phone.needs_hands_since)}` : nothing}</p>` : nothing}
      ${phone.agent_connected ? nothing : html`<p class="callout bad">${words.phone.hostAway}</p>`}
      ${
        phone.reasons.length
          ? html`<ul class="reasons">${phone.reasons.map(
              (one) => html`<li><b>${spoken(one.reason)}</b>${one.detail ? html`: ${one.detail}` : nothing}${
                one.until ? html`, ${words.phones.until} ${when(one.until, 'both')}` : nothing
              }${one.remedy ? html`<span class="remedy">${code(one.remedy)}</span>` : nothing}</li>`,
            )}</ul>`
          : phone.offered ? html`<p>${words.phone.nothing}</p>` : nothing
      }
      ${phone.warnings.length ? html`<p>${words.phone.warns}</p><ul class="reasons">${phone.warnings.map((one) => html`<li>${one}</li>`)}</ul>` : nothing}</section>`;
  }

  #work() {
    const { data } = this.work;
    const { columns } = words.work;
    return html`<section aria-labelledby="runs"><h2 id="runs">${words.phone.runs}</h2>
      ${
        !data
          ? pending(this.work)
          : !data.processes.length
            ? html`<p>${words.phone.noRuns}</p>`
            : html`<div class="scroll"><table class="list"><thead><tr>${[columns.process, columns.status, columns.created, columns.took].map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
              <tbody>${data.processes.map(
                (one) => html`<tr><th scope="row">${processLink(one.process_id, spoken(one.process_type))}<span class="sub">${one.error ? spoken(one.error.code) : one.request_id}</span></th>
                  <td>${statusChip(one.status)}</td><td>${when(one.timestamps.created_at)}</td><td>${took(one.timestamps.executing_at, one.timestamps.finished_at)}</td></tr>`,
              )}</tbody></table></div>
              <p><a href=${`${page('work')}${query({ phone_id: this.phoneId })}`}>${words.now.all}</a></p>`
      }</section>`;
  }

  /** @param {Details} details */
  #failures({ failures }) {
    if (!failures.length) return nothing;
    return html`<section aria-labelledby="failures"><h2 id="failures">${words.phone.failures}</h2>
      <ul class="plain lines">${failures.slice(0, SHOWN).map(
        (one) => html`<li><div class="line"><b>${spoken(one.code)}</b> ${chip(one.counts ? 'bad' : 'idle', spoken(one.blame))}
          ${processLink(one.process_id)} <span class="sub">${when(one.at)}</span></div><div class="sub">${one.message}</div></li>`,
      )}</ul></section>`;
  }

  /** @param {Details} details */
  #history({ audit, recovery }) {
    const done = audit.filter((one) => !LOOKS.has(one.verb));
    const entries = [...done, ...recovery].sort((one, other) => (other.at ?? '').localeCompare(one.at ?? '')).slice(0, 2 * SHOWN);
    return html`<section aria-labelledby="history"><h2 id="history">${words.phone.history}</h2>
      ${
        entries.length
          ? html`<ul class="plain lines">${entries.map(
              (one) => html`<li><div class="line"><b>${spoken(one.verb)}</b> <span>${one.actor}</span> <span class="sub">${when(one.at)}</span></div>
                ${one.reason ? html`<div class="sub">${one.reason}</div>` : nothing}</li>`,
            )}</ul>`
          : html`<p>${words.phone.noHistory}</p>`
      }</section>`;
  }

  /** @param {Details} details */
  #facts(details) {
    const names = words.phone.fields;
    const { phone, axes } = details;
    /** @type {[string, unknown][]} */
    const facts = [
      [names.model, phone.model],
      [names.serial, phone.serialno],
      [names.adb, phone.adb_serial],
      [names.android, phone.android_release],
      [names.host, html`<a href=${page('hosts')}>${phone.agent_id}</a>`],
      ...axes.map((axis) => /** @type {[string, unknown]} */ ([
        names[/** @type {keyof typeof names} */ (axis.axis)] ?? spoken(axis.axis),
        html`${spoken(axis.value)} <span class="sub">${axis.reason ? html`${axis.reason}, ` : nothing}${axis.since ? html`${words.phone.since} ${when(axis.since, 'both')}` : nothing}</span>`,
      ])),
      [names.battery, details.battery_percent === null ? '' : `${details.battery_percent} %${details.battery_celsius === null ? '' : `, ${details.battery_celsius} °C`}`],
      [names.storage, details.storage_free_bytes === null ? '' : size(details.storage_free_bytes)],
      [names.looked, details.looked_at ? when(details.looked_at) : ''],
      [names.id, html`<code>${phone.phone_id}</code>`],
    ];
    return html`<section aria-labelledby="facts"><h2 id="facts">${words.phone.facts}</h2>
      <dl class="facts">${facts.filter(([, value]) => value).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl></section>`;
  }

  /** @param {Details} details */
  #stages({ stages }) {
    if (!stages.length) return nothing;
    return html`<section aria-labelledby="stages"><h2 id="stages">${words.phone.stages}</h2>
      <ol class="plain lines">${stages.map(
        (one) => html`<li><div class="line">${chip(STAGES[one.state] ?? 'idle', spoken(one.state))} ${spoken(one.name)} <span class="sub">${words.phone.seconds(one.seconds)}</span></div>
          ${one.error ? html`<div class="sub">${one.error}</div>` : nothing}</li>`,
      )}</ol></section>`;
  }

  /** @param {Phone} phone */
  #accounts(phone) {
    const bound = (this.accounts.data?.accounts ?? []).filter((one) => one.phone_id === phone.phone_id);
    return html`<section aria-labelledby="bound"><h2 id="bound">${words.phone.accounts}</h2>
      ${
        bound.length
          ? html`<ul class="plain">${bound.map(
              (one) => html`<li><a href=${`${page('accounts')}${query({ text: one.account_id })}`}>${one.account_id}</a> <span class="sub">${one.app}</span>
                ${one.condition === 'ok' ? nothing : chip('bad', words.accounts.attention)}${one.active ? nothing : chip('idle', words.accounts.inactive)}</li>`,
            )}</ul>`
          : html`<p>${words.phone.noAccounts}</p>`
      }</section>`;
  }
}

customElements.define('pf-phone', PhonePage);
