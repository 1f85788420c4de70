/** Schedules: what recurs, and when it comes next. */

import { html, nothing } from '../vendor/lit.js';
import { call } from '../api.js';
import { Feed } from '../feed.js';
import { Page, chip, empty, heading, pending } from '../parts.js';
import { page } from '../router.js';
import { when } from '../time.js';
import { OPTIONAL_REASON, asking, buttons } from '../verbs.js';
import { spoken, words } from '../words.js';

/** @typedef {import('../rest.js').Schedule} Schedule */

/** @param {Schedule} one */
function verbs(one) {
  const path = `/schedules/${encodeURIComponent(one.name)}`;
  const topics = ['schedule'];
  return [
    one.paused
      ? asking({ say: words.verbs.resumeSchedule, topics, fields: [OPTIONAL_REASON], work: ({ reason }) => call('POST', `${path}/resume`, { reason }) })
      : asking({ say: words.verbs.pauseSchedule, topics, work: ({ reason }) => call('POST', `${path}/pause`, { reason }) }),
    asking({ say: words.verbs.deleteSchedule, isDanger: true, topics, work: ({ reason }) => call('POST', `${path}/delete`, { reason }) }),
  ];
}

class SchedulesPage extends Page {
  constructor() {
    super();
    /** @type {Feed<import('../rest.js').ScheduleList>} */
    this.schedules = new Feed(this, () => '/schedules', { topics: ['schedule'], seconds: 10 });
  }

  render() {
    return html`${heading({ title: words.pages.schedules.name, asks: words.pages.schedules.asks, feed: this.schedules })}
      ${this.schedules.data ? this.#list(this.schedules.data.schedules) : pending(this.schedules)}`;
  }

  /** @param {Schedule[]} schedules */
  #list(schedules) {
    if (!schedules.length) return empty(words.schedules.empty, words.schedules.emptyMore);
    const { columns } = words.schedules;
    return html`<div class="scroll"><table class="list rows">
      <caption class="hidden">${words.pages.schedules.name}</caption>
      <thead><tr>${[columns.schedule, columns.work, columns.next, columns.last].map((name) => html`<th scope="col">${name}</th>`)}<td></td></tr></thead>
      <tbody>${schedules.map((one) => html`<tr>
        <th scope="row">${one.name}<span class="sub">${one.cron} ${one.zone}</span></th>
        <td>${spoken(one.request.capability)}</td>
        <td>${this.#next(one)}${one.problem ? html`<div class="sub">${one.problem}</div>` : nothing}</td>
        <td>${one.last_process_id ? html`<a href=${page('work', one.last_process_id)}>${one.last_process_id.slice(0, 8)}</a>` : words.shell.none}</td>
        <td class="row-verbs">${buttons(verbs(one), one.name)}</td></tr>`)}</tbody></table></div>`;
  }

  /** @param {Schedule} one */
  #next(one) {
    if (one.paused) return chip('idle', words.schedules.paused);
    const next = one.due_at ? when(one.due_at, 'both') : words.schedules.never;
    return one.problem ? html`${chip('bad', words.schedules.problem)} ${next}` : next;
  }
}

customElements.define('pf-schedules', SchedulesPage);
