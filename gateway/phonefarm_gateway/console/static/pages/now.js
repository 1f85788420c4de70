/** Now: what needs a person. Empty is good. */

import { html, nothing } from '../vendor/lit.js';
import { get, query } from '../api.js';
import { Feed, phonesFeed } from '../feed.js';
import {
  Page, chip, code, empty, firstReason, heading, incidentLine, isOut, pauseName, pending, phoneLink, phoneName, processLink, stateChip, stateOf,
} from '../parts.js';
import { page } from '../router.js';
import { when } from '../time.js';
import { summed } from '../waiting.js';
import { spoken, words } from '../words.js';

/** @typedef {import('../rest.js').Phone} Phone */
/** @typedef {import('../rest.js').Account} Account */
/** @typedef {import('../rest.js').ProcessRecord} ProcessRecord */
/** @typedef {import('../rest.js').ProcessList} ProcessList */

const HOUR_MILLISECONDS = 3_600_000;
const SHOWN = 6;
/** The doctor's check that says what the card of callbacks says. */
const CALLBACKS = 'callbacks';

class NowPage extends Page {
  constructor() {
    super();
    this.phones = phonesFeed(this);
    /** @type {Feed<import('../rest.js').AccountList>} */
    this.accounts = new Feed(this, () => '/accounts', { topics: ['account'], seconds: 15 });
    /** @type {Feed<import('../rest.js').Examination>} */
    this.doctor = new Feed(this, () => '/doctor', { seconds: 20 });
    /** @type {Feed<import('../rest.js').HandsNeededList>} */
    this.hands = new Feed(this, () => '/needs-hands', { topics: ['phone', 'incident'], seconds: 10 });
    /** @type {Feed<import('../rest.js').IncidentList>} */
    this.incidents = new Feed(this, () => '/incidents', { topics: ['incident'], seconds: 10 });
    /** @type {Feed<import('../rest.js').PauseList>} */
    this.pauses = new Feed(this, () => '/pauses', { topics: ['pause'], seconds: 10 });
    /** @type {Feed<import('../rest.js').FailingReceiverList>} */
    this.receivers = new Feed(this, () => '/failing-receivers', { topics: ['process'], seconds: 15 });
    /** @type {Feed<ProcessList>} */
    this.failed = new Feed(this, () => '/processes?status=failed_terminal&limit=100', { topics: ['process'], seconds: 10 });
    /** @type {Feed<ProcessList>} */
    this.running = new Feed(this, () => '/processes?status=executing&limit=500', { topics: ['process'], seconds: 10 });
    /** @type {Map<string, import('../waiting.js').Why>} */
    this.why = new Map();
    /** @type {Feed<import('../waiting.js').Sum>} */
    this.waiting = new Feed(this, () => '/processes?status=queued&status=retrying&limit=50', {
      topics: ['process'], seconds: 10, load: async (path) => summed(await get(path), this.why),
    });
  }

  render() {
    const title = heading({ title: words.pages.now.name, asks: words.pages.now.asks, feed: this.phones });
    const phones = this.phones.data?.phones;
    const accounts = this.accounts.data?.accounts;
    if (!phones || !accounts || !this.failed.data) {
      return html`${title}${pending([this.phones, this.accounts, this.failed].find((feed) => feed.error) ?? this.phones)}`;
    }
    const since = Date.now() - HOUR_MILLISECONDS;
    const failed = this.failed.data.processes.filter((one) => Date.parse(one.timestamps.finished_at ?? '') > since);
    const needed = this.hands.data?.needed ?? [];
    const named = new Set(needed.map((one) => one.phone_id));
    const out = phones.filter((phone) => isOut(phone) && !named.has(phone.phone_id));
    const troubled = accounts.filter((one) => one.active && one.condition !== 'ok');
    const sections = [
      this.#hands(needed, phones), this.#doctor(), this.#incidents(), this.#failed(failed), this.#phones(out), this.#accounts(troubled), this.#callbacks(), this.#waiting(), this.#pauses(),
    ];
    const isCalm = sections.every((one) => one === nothing);
    return html`${title}${this.#counts(phones, failed.length)}
      ${isCalm ? empty(words.now.calm, words.now.calmMore) : html`<div class="cards">${sections}</div>`}`;
  }

  /** @param {Phone[]} phones @param {number} failed */
  #counts(phones, failed) {
    const { counts } = words.now;
    const states = Map.groupBy(phones, stateOf);
    const size = (/** @type {import('../parts.js').PhoneState} */ state) => states.get(state)?.length ?? 0;
    const out = phones.filter(isOut).length;
    const waiting = this.waiting.data;
    /** @type {[string, string | number, string, string][]} */
    const numbers = [
      [page('phones'), phones.length.toLocaleString(), counts.phones(phones.length).replace(/^\S+ /, ''), ''],
      [`${page('phones')}?state=working`, size('working'), counts.working, 'busy'],
      [`${page('phones')}?state=ready`, size('ready'), counts.ready, 'good'],
      [page('phones'), out, counts.out, out ? 'bad' : ''],
      [`${page('work')}?status=executing`, this.#count(this.running.data), counts.running, ''],
      [`${page('work')}?status=queued&status=retrying`, waiting ? `${waiting.processes}${waiting.isAll ? '' : '+'}` : words.shell.none, counts.waiting, ''],
      [`${page('work')}?status=failed_terminal`, failed, counts.failed, failed ? 'bad' : ''],
    ];
    return html`<ul class="counts">${numbers.map(([path, number, name, tone]) => html`<li><a href=${path} class=${tone}><b>${number}</b> <span>${name}</span></a></li>`)}</ul>`;
  }

  /** @param {ProcessList | null} list */
  #count(list) {
    return list ? `${list.processes.length.toLocaleString()}${list.next_cursor === null ? '' : '+'}` : words.shell.none;
  }

  /** @param {import('../rest.js').HandsNeeded[]} needed @param {Phone[]} phones */
  #hands(needed, phones) {
    if (!needed.length) return nothing;
    const known = new Map(phones.map((phone) => [phone.phone_id, phone]));
    return this.#card(words.now.hands, 'hands', needed, `${page('phones')}?state=hands`, (one) => {
      const phone = known.get(one.phone_id ?? '');
      return html`<li><div class="line">${phone ? phoneLink(phone.phone_id, phoneName(phone)) : html`<b>${one.adb_serial}</b>`} ${phone ? stateChip(phone) : nothing}
        <span class="sub">${one.agent_id}</span> ${one.since ? when(one.since) : nothing}</div><div class="reason"><span>${one.reason}</span></div></li>`;
    });
  }

  #doctor() {
    const found = (this.doctor.data?.findings ?? []).filter((one) => one.verdict !== 'ok' && one.check !== CALLBACKS);
    if (!found.length) return nothing;
    return this.#card(words.now.doctor, 'doctor', found, '', (one) => html`<li><div class="line"><b>${spoken(one.check)}</b> ${chip(one.verdict === 'fail' ? 'bad' : 'wait', spoken(one.verdict))}</div>
      <div class="reason"><span>${one.text}</span>${one.remedy ? html`<span class="remedy">${code(one.remedy)}</span>` : nothing}</div></li>`);
  }

  #incidents() {
    const found = (this.incidents.data?.incidents ?? []).filter((one) => !one.ended_at);
    if (!found.length) return nothing;
    return this.#card(words.now.incidents, 'incidents', found, page('hosts'), (one) => incidentLine(one, true));
  }

  #pauses() {
    const found = this.pauses.data?.pauses ?? [];
    if (!found.length) return nothing;
    return this.#card(words.now.pauses, 'pauses', found, page('queue'), (one) => html`<li><div class="line"><a href=${page('queue')}>${pauseName(one)}</a> <span class="sub">${one.by}</span> ${when(one.since)}</div>
      <div class="reason"><span>${one.reason}</span></div></li>`);
  }

  /** @param {Phone[]} phones */
  #phones(phones) {
    if (!phones.length) return nothing;
    return this.#card(words.now.out, 'out', phones, page('phones'), (phone) => html`<li><div class="line">${phoneLink(phone.phone_id, phoneName(phone))} ${stateChip(phone)}
      <span class="sub">${phone.agent_id}</span></div>${firstReason(phone)}</li>`);
  }

  /** @param {ProcessRecord[]} failed */
  #failed(failed) {
    if (!failed.length) return nothing;
    return this.#card(words.now.failed, 'failed', failed, `${page('work')}?status=failed_terminal`, (one) => html`<li>
      <div class="line">${processLink(one.process_id, spoken(one.process_type))} <span class="sub">${one.target.account_id ?? one.requested_by.system}</span> ${when(one.timestamps.finished_at)}</div>
      ${one.error ? html`<div class="reason"><span>${spoken(one.error.code)}</span><span class="remedy">${one.error.message}</span></div>` : nothing}</li>`);
  }

  /** @param {Account[]} troubled */
  #accounts(troubled) {
    if (!troubled.length) return nothing;
    return this.#card(words.now.accounts, 'accounts', troubled, `${page('accounts')}?state=attention`, (one) => html`<li>
      <div class="line"><a href=${`${page('accounts')}${query({ text: one.account_id })}`}>${one.account_id}</a> <span class="sub">${one.app}</span> ${chip('bad', words.accounts.attention)}</div>
      <div class="reason"><span>${one.condition_reason}</span></div></li>`);
  }

  #callbacks() {
    const failing = this.receivers.data?.receivers ?? [];
    if (!failing.length) return nothing;
    return this.#card(words.now.callbacks, 'callbacks', failing, '', (one) => html`<li>
      <div class="line"><b>${one.receiver}</b> <span class="sub">${words.now.undelivered(one.waiting)} ${when(one.since)}</span></div>
      <div class="reason"><span>${one.error}</span><span class="remedy">${words.now.tries} ${processLink(one.process_id)}</span></div></li>`);
  }

  #waiting() {
    const sum = this.waiting.data;
    if (!sum?.reasons.length) return nothing;
    return this.#card(words.now.waiting, 'waiting', sum.reasons, page('queue'), (one) => html`<li>
      <div class="line"><b>${spoken(one.reason)}</b> <span class="sub">${one.count}</span></div>
      <div class="reason"><span class="remedy">${code(one.remedies[0] ?? '')}</span></div></li>`);
  }

  /**
   * @template T
   * @param {string} title @param {string} id @param {T[]} things @param {string} path @param {(thing: T) => unknown} line
   */
  #card(title, id, things, path, line) {
    return html`<section class="card" aria-labelledby=${id}><h2 id=${id}>${title} <span class="count">${things.length}</span></h2>
      <ul class="plain">${things.slice(0, SHOWN).map(line)}</ul>
      ${path && things.length > SHOWN ? html`<p><a href=${path}>${words.now.all}</a></p>` : nothing}</section>`;
  }
}

customElements.define('pf-now', NowPage);
