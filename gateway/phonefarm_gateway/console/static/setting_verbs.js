/** What a person can do on the settings page: invitations, verifications, groups. */

import { call, get, save } from './api.js';
import { OPTIONAL_REASON, asking } from './verbs.js';
import { session } from './session.js';
import { spoken, words } from './words.js';

/** @typedef {import('./rest.js').Group} Group */
/** @typedef {import('./verbs.js').Verb} Verb */
/** @typedef {import('./dialog.js').Field} Field */

const STEPS = ['stop_apps', 'remove_added', 'home'];

/** @param {(invitation: import('./rest.js').Invitation) => void} shown @returns {Verb} */
export function inviteVerb(shown) {
  const say = words.verbs.invite;
  return asking({
    say, scope: 'admin', topics: ['agent'],
    fields: [
      { name: 'role', label: say.role, value: 'agent', choices: [['agent', say.agent], ['gateway', say.gateway]] },
      { name: 'member', label: say.name, hint: say.nameHint },
      { name: 'minutes', label: say.minutes, value: '15', choices: [['15', '15'], ['60', '60'], ['1440', '1440']] },
      OPTIONAL_REASON,
    ],
    work: async ({ role, member, minutes, reason }) => {
      shown(await call('POST', '/invitations', { reason, role, member_id: member || null, good_for_seconds: 60 * Number(minutes) }));
    },
  });
}

/** @param {string} capability @param {(processId: string) => void} begun @returns {Verb} */
export function verifyVerb(capability, begun) {
  const say = words.verbs.verify;
  return asking({
    say, topics: ['process'],
    fields: [{ name: 'phone', label: say.phone, required: true }, { name: 'account', label: say.account, hint: say.accountHint }],
    work: async ({ phone, account }) => {
      /** @type {import('./rest.js').VerificationStarted} */
      const started = await call('POST', `/capabilities/${encodeURIComponent(capability)}/verify`, {
        phone_id: await phoneId(phone), account_id: account || null,
        requested_by: { system: 'console', user: session.answer?.name ?? '' },
      });
      begun(started.process_id);
    },
  });
}

/** A phone by any of its names, as people know it. @param {string} name */
async function phoneId(name) {
  /** @type {import('./rest.js').PhoneList} */
  const { phones } = await get('/phones');
  const found = phones.filter((one) => [one.phone_id, one.serialno, one.adb_serial].includes(name));
  return found.length === 1 ? found[0].phone_id : name;
}

/** @param {string} processId @param {() => void} done @returns {Verb} */
export const recordVerb = (processId, done) =>
  asking({
    say: words.verbs.record, fields: [], topics: ['verification'],
    work: async () => {
      await call('POST', `/processes/${processId}/verification`);
      done();
    },
  });

/** @param {string} text  names, separated by commas, spaces or lines */
const names = (text) => text.split(/[\s,]+/).filter(Boolean);

/** @returns {Verb} */
export function newGroupVerb() {
  const say = words.verbs.newGroup;
  return asking({
    say, topics: ['group'],
    fields: [
      { name: 'kind', label: say.kind, value: 'phone', choices: [['phone', words.settings.groups.kinds.phone], ['account', words.settings.groups.kinds.account]] },
      { name: 'name', label: say.name, required: true },
      { name: 'member_ids', label: say.members, hint: say.membersHint, required: true },
      OPTIONAL_REASON,
    ],
    work: ({ kind, name, member_ids, reason }) =>
      call('PUT', `/groups/${kind}/${encodeURIComponent(name)}`, { reason, member_ids: names(member_ids) }),
  });
}

/** @param {Group} group @returns {Verb} */
export function membersVerb(group) {
  const say = words.verbs.members;
  return asking({
    say, topics: ['group'],
    fields: [{ name: 'member_ids', label: say.members, hint: say.membersHint, value: group.member_ids.join(', ') }, OPTIONAL_REASON],
    work: ({ member_ids, reason }) =>
      call('PUT', `/groups/${group.kind}/${encodeURIComponent(group.name)}`, { reason, member_ids: names(member_ids) }),
  });
}

/** @param {Group} group @returns {Verb} */
export function cleanUpVerb(group) {
  const say = words.verbs.cleanUp;
  return asking({
    say, topics: ['group'],
    fields: [...STEPS.map((step) => /** @type {Field} */ ({
      name: step, label: spoken(step), type: 'checkbox', value: group.clean_up?.includes(step) ? 'yes' : '',
    })), OPTIONAL_REASON],
    work: (values) =>
      call('PUT', `/groups/phone/${encodeURIComponent(group.name)}/clean-up`, { reason: values.reason, steps: STEPS.filter((step) => values[step] === 'yes') }),
  });
}

/** @returns {Verb} */
export const backupVerb = () =>
  asking({ say: words.verbs.backup, scope: 'admin', topics: [], work: ({ reason }) => save('POST', '/backup', '', { reason }) });
