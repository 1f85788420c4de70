/** Makes one timeline of a process's moves, actions, pictures and callbacks. */

/** @typedef {import('./rest.js').ProcessRecord} ProcessRecord */
/** @typedef {import('./rest.js').Timeline} Timeline */
/** @typedef {import('./rest.js').Transition} Transition */
/** @typedef {import('./rest.js').Evidence} Evidence */
/** @typedef {import('./rest.js').Delivery} Delivery */
/** @typedef {import('./rest.js').PlannedAction} PlannedAction */
/** @typedef {import('./rest.js').QueueItem} QueueItem */
/** @typedef {import('./parts.js').Tone} Tone */

/**
 * Everything that is known of a process.
 * @typedef {object} Whole
 * @property {ProcessRecord} record
 * @property {Timeline} timeline
 * @property {import('./rest.js').EvidenceList} evidence
 * @property {import('./rest.js').DeliveryList} deliveries
 * @property {import('./rest.js').Explanation | null} explanation  null once it has ended
 * @property {QueueItem[]} items
 */

/**
 * @typedef {{kind: 'move', at: string, item: string | null, move: Transition, tone: Tone}
 *   | {kind: 'actions', at: string, item: string, actions: PlannedAction[], toneOf: (action: PlannedAction) => Tone}
 *   | {kind: 'picture', at: string, item: string | null, file: Evidence}
 *   | {kind: 'delivery', at: string, item: null, delivery: Delivery, tone: Tone}} Entry
 */

/** @type {Record<string, Tone>} */
const MOVES = { EXECUTING: 'busy', DONE: 'good', COMPLETED: 'good', DEAD_LETTER: 'bad', PARTIAL: 'bad', RETRYABLE: 'wait', CANCELLED: 'idle' };
/** @type {Record<string, Tone>} */
const ACTIONS = { done: 'good', failed: 'bad', unknown: 'bad', started: 'busy', running: 'busy' };
const BEGUN = 'EXECUTING';

/** @param {Evidence} file */
const isPicture = (file) => file.kind === 'screenshot' && !file.removed_at;

/**
 * The moves without those of a process that only repeat its one item's.
 * @param {Transition[]} moves
 */
function movesOf(moves) {
  const items = new Set(moves.map((move) => move.queue_item_id).filter(Boolean));
  if (items.size !== 1) return moves;
  const told = new Set(moves.filter((move) => move.queue_item_id).map((move) => move.to_state));
  return moves.filter((move) => move.queue_item_id || !told.has(move.to_state));
}

/** @param {Whole} whole @returns {Entry[]} the oldest first */
export function entriesOf({ timeline, evidence, deliveries, items }) {
  /** @type {Entry[]} */
  const entries = movesOf(timeline.transitions).map((move) => ({
    kind: 'move', at: move.at, item: move.queue_item_id, move, tone: MOVES[move.to_state] ?? 'idle',
  }));
  for (const item of items) {
    // An action has no time of its own: the list stands where its attempt began.
    const began = timeline.transitions.findLast((move) => move.queue_item_id === item.queue_item_id && move.to_state === BEGUN);
    if (began && item.actions.length) {
      entries.push({
        kind: 'actions', at: began.at, item: item.queue_item_id, actions: item.actions,
        toneOf: (action) => ACTIONS[action.status.toLowerCase()] ?? 'idle',
      });
    }
  }
  for (const file of evidence.evidence) {
    if (isPicture(file) && file.received_at) entries.push({ kind: 'picture', at: file.received_at, item: file.queue_item_id, file });
  }
  for (const delivery of deliveries.deliveries) {
    // What is still tried stands with the callbacks.
    if (delivery.settled_at) {
      entries.push({ kind: 'delivery', at: delivery.settled_at, item: null, delivery, tone: delivery.status === 'delivered' ? 'good' : 'bad' });
    }
  }
  return entries.sort((one, other) => one.at.localeCompare(other.at));
}

/** The picture that shows the failure best: the last of the attempt that failed. @param {Whole} whole @returns {Evidence | null} */
export function pictureOf({ record, evidence }) {
  const { error } = record;
  if (!error) return null;
  const pictures = evidence.evidence.filter((file) => isPicture(file) && (!error.queue_item_id || file.queue_item_id === error.queue_item_id));
  const last = Math.max(...pictures.map((file) => file.attempt));
  const attempt = pictures.some((file) => file.attempt === error.attempt) ? error.attempt : last;
  const ofAttempt = pictures.filter((file) => file.attempt === attempt);
  return ofAttempt.sort((one, other) => (one.action_index ?? Infinity) - (other.action_index ?? Infinity)).at(-1) ?? null;
}
