/** What a person can do: each verb with its scope, its key and the dialog that asks first. */

import { html, nothing } from './vendor/lit.js';
import { call, eachOf } from './api.js';
import { changes } from './changes.js';
import { REASON, ask } from './dialog.js';
import { ENDED, HOLD } from './parts.js';
import { page, router } from './router.js';
import { session } from './session.js';
import { words } from './words.js';

/** @typedef {import('./rest.js').Account} Account */
/** @typedef {import('./rest.js').Agent} Agent */
/** @typedef {import('./rest.js').Pause} Pause */
/** @typedef {import('./rest.js').Phone} Phone */
/** @typedef {import('./rest.js').ProcessRecord} ProcessRecord */
/** @typedef {import('./dialog.js').Field} Field */

/**
 * @typedef {object} Verb
 * @property {string} label
 * @property {string} key  the letter that does it on its page; empty in rows
 * @property {string} scope
 * @property {boolean} [isDanger]
 * @property {() => void} run
 */

/** @typedef {{label: string, title: string, text: string, go?: string}} Words */

/**
 * Buttons of *verbs*. One that the key may not press is shown, with the scope that it needs.
 * @param {Verb[]} verbs
 * @param {string} [about]  for screen readers, when a page has several of the same
 */
export const buttons = (verbs, about = '') =>
  verbs.map((verb) => {
    const may = session.may(verb.scope);
    const label = about ? `${verb.label}: ${about}` : nothing;
    return html`<button type="button" class=${verb.isDanger ? 'danger' : ''} aria-label=${label} ?disabled=${!may}
      title=${may ? nothing : words.dialog.needs(verb.scope)} aria-keyshortcuts=${verb.key || nothing}
      @click=${verb.run}>${verb.label}${may ? nothing : html`<span class="scope">${verb.scope}</span>`}</button>`;
  });

/** The keys of *verbs* that may be used. @param {Verb[]} verbs */
export const keysOf = (verbs) => verbs.filter((verb) => verb.key && session.may(verb.scope));

const requestedBy = () => ({ system: 'console', user: session.answer?.name ?? '' });

/** @type {Field} */
export const OPTIONAL_REASON = { ...REASON, required: false };

/**
 * A verb that asks, makes one call, and tells what changed.
 * @param {object} verb
 * @param {Words} verb.say
 * @param {string} [verb.key]
 * @param {string} [verb.scope]
 * @param {boolean} [verb.isDanger]
 * @param {Field[]} [verb.fields]
 * @param {string[]} verb.topics
 * @param {(values: Record<string, string>) => Promise<unknown>} verb.work
 * @returns {Verb}
 */
export const asking = ({ say, key = '', scope = 'operate', isDanger = false, fields = [REASON], topics, work }) => ({
  label: say.label,
  key,
  scope,
  isDanger,
  run: () =>
    void ask({
      title: say.title,
      text: say.text,
      go: say.go ?? say.label,
      isDanger,
      fields,
      work: async (values) => {
        await work(values);
        changes.tell(...topics);
      },
    }),
});

/** @param {string[]} ids @returns {Verb} */
export function cancelVerb(ids) {
  const say = words.verbs.cancel;
  const isOne = ids.length === 1;
  return {
    ...asking({
      say: isOne ? say : { ...say, title: say.many(ids.length), go: say.goMany },
      key: 'c',
      scope: 'cancel',
      isDanger: true,
      fields: [
        REASON,
        {
          name: 'strategy', label: say.strategy, value: 'soft_then_force',
          choices: [['soft_then_force', say.softThenForce], ['soft', say.soft], ['hard', say.hard]],
        },
      ],
      topics: ['process', 'phone'],
      work: ({ reason, strategy }) =>
        eachOf(ids, 4, (id) => call('POST', `/processes/${id}/cancel`, { reason, strategy, requested_by: requestedBy() })),
    }),
    label: isOne ? say.label : say.many(ids.length),
  };
}

/** @param {string} id @returns {Verb} */
export const replayVerb = (id) =>
  asking({
    say: words.verbs.replay, key: 's', fields: [], topics: ['process'],
    work: () => call('POST', `/processes/${id}/deliveries/replay`, {}),
  });

/** @param {ProcessRecord} record @returns {Verb[]} */
export function processVerbs(record) {
  const id = record.process_id;
  if (!ENDED.has(record.status)) return [cancelVerb([id])];
  if (record.process_type === HOLD) return [];
  const say = words.verbs.rerun;
  const isPartial = 'items_total' in record.partial_progress && record.partial_progress.items_total > 1;
  return [
    asking({
      say, key: 'r', scope: 'operate', topics: ['process'],
      fields: [REASON, ...(isPartial ? [/** @type {Field} */ ({ name: 'failed_only', label: say.failedOnly, type: 'checkbox' })] : []),
        { name: 'not_posted', label: say.notPosted, type: 'checkbox' }],
      work: async ({ reason, failed_only, not_posted }) => {
        const body = { reason, failed_only: failed_only === 'yes', not_posted: not_posted === 'yes' };
        /** @type {import('./rest.js').Rerun} */
        const rerun = await call('POST', `/processes/${id}/rerun`, body);
        router.go(page('work', rerun.process_id));
      },
    }),
  ];
}

/** @param {Account} account @returns {Verb[]} */
export function accountVerbs(account) {
  const path = `/accounts/${encodeURIComponent(account.account_id)}`;
  const { account_id: _, ...rest } = account;
  const change = asking({
    say: account.active ? words.verbs.deactivate : words.verbs.activate, isDanger: account.active, fields: [],
    topics: ['account', 'process'], work: () => call('PUT', path, { ...rest, active: !account.active }),
  });
  const remove = account.active ? [] : [asking({
    say: words.verbs.deleteAccount, isDanger: true, topics: ['account'], work: ({ reason }) => call('POST', `${path}/delete`, { reason }),
  })];
  if (account.condition === 'ok') return [change, ...remove];
  const clear = asking({
    say: words.verbs.clear, topics: ['account', 'process'], work: ({ reason }) => call('POST', `${path}/clear`, { reason }),
  });
  return [clear, change, ...remove];
}

const OUT = new Set(['quarantined', 'retired']);

/** What can be done to a phone as it is now. @param {Phone} phone @returns {Verb[]} */
export function phoneVerbs(phone) {
  const say = words.verbs;
  const path = `/phones/${encodeURIComponent(phone.phone_id)}`;
  const topics = ['phone', 'process'];
  /** @param {string} verb @param {object} [more] */
  const post = (verb, more = {}) => async (/** @type {Record<string, string>} */ { reason }) => {
    await call('POST', `${path}/${verb}`, { reason, ...more });
  };
  const isHeld = phone.process_type === HOLD && phone.lease === 'leased';
  const isRun = !isHeld && phone.lease === 'leased' && phone.lease_epoch !== null;
  const isRetired = phone.health === 'retired';
  /** @type {(Verb | false)[]} */
  const verbs = [
    isHeld && asking({ say: say.unhold, key: 'b', topics, work: post('unhold') }),
    !isHeld && !isRetired && phone.intent !== 'new' && asking({
      say: say.hold, key: 'h', topics,
      fields: [REASON, { name: 'minutes', label: say.hold.minutes, value: '30', choices: [['10', '10'], ['30', '30'], ['60', '60'], ['120', '120'], ['180', '180']] }],
      work: ({ reason, minutes }) => call('POST', `${path}/hold`, { reason, seconds: 60 * Number(minutes) }),
    }),
    (OUT.has(phone.health) || phone.lease === 'dirty') && asking({ say: say.return, key: 'b', topics, work: post('return') }),
    !isRetired && phone.intent !== 'in_service' && asking({ say: say.admit, key: 'a', topics, fields: [OPTIONAL_REASON], work: post('admit') }),
    !isRetired && phone.intent === 'in_service' && asking({ say: say.drain, key: 'd', topics, work: post('drain') }),
    !isRetired && phone.intent !== 'maintenance' && phone.intent !== 'new' && asking({ say: say.maintain, key: 'm', topics, work: post('maintain') }),
    isRun && asking({ say: say.release, key: 'x', topics, isDanger: true, work: post('release', { epoch: phone.lease_epoch }) }),
    !isRetired && asking({ say: say.retire, key: 'e', topics, isDanger: true, work: post('retire') }),
  ];
  return verbs.filter((verb) => verb !== false);
}

/** @param {Agent} agent @returns {Verb[]} */
export function agentVerbs(agent) {
  const path = `/agents/${encodeURIComponent(agent.agent_id)}`;
  const topics = ['agent', 'phone'];
  const drain = agent.drain_since
    ? asking({ say: words.verbs.undrain, topics, work: ({ reason }) => call('POST', `${path}/undrain`, { reason }) })
    : asking({ say: words.verbs.drainHost, topics, work: ({ reason }) => call('POST', `${path}/drain`, { reason }) });
  if (!agent.certificate_expires_at) return [drain];
  return [drain, asking({ say: words.verbs.revokeHost, scope: 'admin', isDanger: true, topics, work: ({ reason }) => call('POST', `${path}/revoke`, { reason }) })];
}

/** @returns {Verb} */
export function pauseVerb() {
  const say = words.verbs.pause;
  return asking({
    say, key: 'p', isDanger: true, topics: ['pause', 'process'],
    fields: [
      REASON,
      { name: 'scope', label: say.scope, value: 'all', choices: [['all', say.scopes.all], ['app', say.scopes.app], ['account', say.scopes.account], ['capability', say.scopes.capability]] },
      { name: 'name', label: say.name, hint: say.nameHint },
      { name: 'stop', label: say.stop, type: 'checkbox' },
    ],
    work: ({ reason, scope, name, stop }) =>
      call('POST', '/pause', { reason, scope, name: scope === 'all' ? null : name || null, stop: stop === 'yes' }),
  });
}

/** @param {Pause} pause @returns {Verb} */
export const resumeVerb = (pause) =>
  asking({
    say: words.verbs.resume, topics: ['pause', 'process'], fields: [OPTIONAL_REASON],
    work: ({ reason }) => call('POST', '/resume', { reason, scope: pause.scope, name: pause.name }),
  });

/** @param {string} name @returns {Verb} */
export const revokeKeyVerb = (name) =>
  asking({
    say: words.verbs.revokeKey, scope: 'admin', isDanger: true, fields: [], topics: ['key'],
    work: () => call('POST', `/keys/${encodeURIComponent(name)}/revoke`),
  });

/** @param {string[]} scopes @param {(secret: string) => void} shown @returns {Verb} */
export function createKeyVerb(scopes, shown) {
  const say = words.verbs.createKey;
  return asking({
    say, key: 'c', scope: 'admin', topics: ['key'],
    fields: [
      { name: 'name', label: say.name, required: true },
      ...scopes.map((scope) => /** @type {Field} */ ({ name: `scope-${scope}`, label: scope, type: 'checkbox', value: scope === 'read' ? 'yes' : '' })),
      { name: 'days', label: say.days, value: '', choices: [['', say.forever], ['1', '1'], ['30', '30'], ['90', '90'], ['365', '365']] },
    ],
    work: async (values) => {
      const chosen = scopes.filter((scope) => values[`scope-${scope}`] === 'yes');
      const ends = values.days ? new Date(Date.now() + Number(values.days) * 86_400_000).toISOString() : null;
      /** @type {import('./rest.js').NewApiKey} */
      const key = await call('POST', '/keys', { name: values.name, scopes: chosen, expires_at: ends });
      shown(key.secret);
    },
  });
}
