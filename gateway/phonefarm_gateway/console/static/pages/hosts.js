/** Hosts: which one is the trouble. */

import { html, nothing } from '../vendor/lit.js';
import { Feed } from '../feed.js';
import { Page, chip, empty, heading, incidentLine, pending } from '../parts.js';
import { page } from '../router.js';
import { when } from '../time.js';
import { agentVerbs, buttons } from '../verbs.js';
import { words } from '../words.js';

/** @typedef {import('../rest.js').Agent} Agent */

class HostsPage extends Page {
  constructor() {
    super();
    /** @type {Feed<import('../rest.js').AgentList>} */
    this.agents = new Feed(this, () => '/agents', { topics: ['agent', 'incident'] });
    /** @type {Feed<import('../rest.js').IncidentList>} */
    this.incidents = new Feed(this, () => '/incidents', { topics: ['incident'] });
  }

  render() {
    return html`${heading({ title: words.pages.hosts.name, asks: words.pages.hosts.asks, feed: this.agents })}
      ${this.agents.data ? this.#list(this.agents.data.agents) : pending(this.agents)}
      ${this.#incidents()}`;
  }

  /** @param {Agent[]} agents */
  #list(agents) {
    if (!agents.length) return empty(words.hosts.empty, words.hosts.emptyMore);
    const { columns } = words.hosts;
    return html`<div class="scroll after"><table class="list rows">
      <caption class="hidden">${words.pages.hosts.name}</caption>
      <thead><tr>${[columns.host, columns.state, columns.phones, columns.heard, columns.version, columns.certificate].map((name) => html`<th scope="col">${name}</th>`)}<td></td></tr></thead>
      <tbody>${agents.map((one) => html`<tr>
        <th scope="row">${one.agent_id}<span class="sub">${one.runtime}</span></th>
        <td>${one.connected ? chip('good', words.hosts.connected) : chip('bad', words.hosts.away)}
          ${one.drain_since ? html`${chip('wait', words.phoneStates.draining)}<div class="sub">${one.drain_by}: ${one.drain_reason}, ${when(one.drain_since)}</div>` : nothing}</td>
        <td class="number"><a href=${`${page('phones')}?host=${encodeURIComponent(one.agent_id)}`}>${one.phones}</a></td>
        <td>${when(one.last_heartbeat_at)}</td>
        <td>${one.version}</td>
        <td>${one.certificate_expires_at ? when(one.certificate_expires_at, 'both') : html`<span class="sub">${words.hosts.token}</span>`}</td>
        <td class="row-verbs">${buttons(agentVerbs(one), one.agent_id)}</td></tr>`)}</tbody></table></div>`;
  }

  #incidents() {
    const found = this.incidents.data?.incidents;
    return html`<section aria-labelledby="incidents"><h2 id="incidents">${words.hosts.incidents}</h2>
      ${
        !found
          ? pending(this.incidents)
          : found.length
            ? html`<ul class="plain lines">${found.map((one) => incidentLine(one, true))}</ul>`
            : html`<p>${words.hosts.noIncidents}</p>`
      }</section>`;
  }
}

customElements.define('pf-hosts', HostsPage);
