/** Settings: who may do what, which hosts may join, what is proved, which phones belong together. */

import { html, nothing } from '../vendor/lit.js';
import { Feed } from '../feed.js';
import { Page, chip, heading, pending, processLink } from '../parts.js';
import { backupVerb, cleanUpVerb, inviteVerb, membersVerb, newGroupVerb, recordVerb, verifyVerb } from '../setting_verbs.js';
import { when } from '../time.js';
import { buttons } from '../verbs.js';
import { spoken, words } from '../words.js';
import './keys.js';

/** @typedef {import('../rest.js').Capability} Capability */
/** @typedef {import('../rest.js').AppVerification} AppVerification */
/** @typedef {import('../rest.js').Group} Group */

const SHOWN = 4;

class SettingsPage extends Page {
  static properties = { invitation: { state: true }, started: { state: true } };

  constructor() {
    super();
    /** @type {import('../rest.js').Invitation | null} */
    this.invitation = null;
    /** The process that proves a capability, once a person began one here. */
    this.started = '';
    /** @type {Feed<import('../rest.js').CapabilityList>} */
    this.capabilities = new Feed(this, () => '/capabilities', { topics: ['verification'], seconds: 15 });
    /** @type {Feed<import('../rest.js').GroupList>} */
    this.groups = new Feed(this, () => '/groups', { topics: ['group'], seconds: 15 });
    this.invite = inviteVerb((invitation) => {
      this.invitation = invitation;
    });
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.invitation = null;
  }

  render() {
    return html`${heading({ title: words.pages.settings.name, asks: words.pages.settings.asks })}
      <pf-keys></pf-keys>${this.#invitations()}${this.#verifications()}${this.#groups()}${this.#backup()}`;
  }

  #backup() {
    const { backup } = words.settings;
    return html`<section aria-labelledby="backup"><div class="head"><h2 id="backup">${backup.heading}</h2><div class="verbs">${buttons([backupVerb()])}</div></div>
      <p class="sub">${backup.about}</p></section>`;
  }

  #invitations() {
    const { invitations } = words.settings;
    const { invitation } = this;
    return html`<section aria-labelledby="invitations"><div class="head"><h2 id="invitations">${invitations.heading}</h2><div class="verbs">${buttons([this.invite])}</div></div>
      <p class="sub">${invitations.about}</p>
      ${
        invitation
          ? html`<div class="callout wait" aria-live="polite"><p><b>${invitations.once}</b> ${invitations.until} ${when(invitation.expires_at, 'both')}</p>
            <pre class="secret">phonefarm-${invitation.role} join ${invitation.token} --state DIR</pre>
            <p><button type="button" @click=${() => navigator.clipboard?.writeText(invitation.token)}>${words.keys.copy}</button>
              <button type="button" class="quiet" @click=${() => { this.invitation = null; }}>${words.shell.close}</button></p></div>`
          : nothing
      }</section>`;
  }

  #verifications() {
    const { verifications } = words.settings;
    const { data } = this.capabilities;
    const proved = data?.capabilities.filter((one) => one.can_be_verified) ?? [];
    return html`<section aria-labelledby="verifications"><h2 id="verifications">${verifications.heading}</h2>
      <p class="sub">${verifications.about}</p>
      ${this.started ? html`<p class="callout busy">${verifications.started} ${processLink(this.started)} ${buttons([recordVerb(this.started, () => { this.started = ''; })])}</p>` : nothing}
      ${
        !data
          ? pending(this.capabilities)
          : html`<div class="scroll"><table class="list rows wide"><caption class="hidden">${verifications.heading}</caption>
            <thead><tr>${[verifications.capability, verifications.apps].map((name) => html`<th scope="col">${name}</th>`)}<td></td></tr></thead>
            <tbody>${proved.map((one) => html`<tr><th scope="row">${spoken(one.name)}<span class="sub">${one.description}</span></th>
              <td>${one.apps.map((app) => this.#app(app))}</td>
              <td class="row-verbs">${buttons([verifyVerb(one.name, (id) => { this.started = id; })], spoken(one.name))}</td></tr>`)}</tbody></table></div>`
      }</section>`;
  }

  /** @param {AppVerification} app */
  #app(app) {
    const { verifications } = words.settings;
    return html`<div class="line">${app.live_verified ? chip('good', verifications.proved) : chip('idle', verifications.open)} ${app.app}
      <span class="sub">${app.live_verified ? html`${app.verified_by}, ${when(app.verified_at)} ${processLink(app.process_id)}` : nothing}</span></div>`;
  }

  #groups() {
    const { groups } = words.settings;
    const { data } = this.groups;
    return html`<section aria-labelledby="groups"><div class="head"><h2 id="groups">${groups.heading}</h2><div class="verbs">${buttons([newGroupVerb()])}</div></div>
      <p class="sub">${groups.about}</p>
      ${
        !data
          ? pending(this.groups)
          : !data.groups.length
            ? html`<p>${groups.none}</p>`
            : html`<div class="scroll"><table class="list rows"><caption class="hidden">${groups.heading}</caption>
              <thead><tr>${[groups.name, groups.members, groups.cleanUp].map((name) => html`<th scope="col">${name}</th>`)}<td></td></tr></thead>
              <tbody>${data.groups.map((one) => html`<tr><th scope="row">${one.name}<span class="sub">${groups.kinds[/** @type {'phone' | 'account'} */ (one.kind)]}</span></th>
                <td><span class="number">${one.member_ids.length}</span> <span class="sub">${one.member_ids.slice(0, SHOWN).join(', ')}${one.member_ids.length > SHOWN ? ' …' : ''}</span></td>
                <td>${one.kind !== 'phone' ? nothing : one.clean_up?.length ? one.clean_up.map(spoken).join(', ') : html`<span class="sub">${one.clean_up ? groups.nothing : groups.unset}</span>`}</td>
                <td class="row-verbs">${buttons([membersVerb(one), ...(one.kind === 'phone' ? [cleanUpVerb(one)] : [])], one.name)}</td></tr>`)}</tbody></table></div>`
      }</section>`;
  }
}

customElements.define('pf-settings', SettingsPage);
