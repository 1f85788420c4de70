/** Why processes wait: the answers of explain, asked for a few at a time and kept for a while. */

import { CallError, eachOf, get } from './api.js';

/** @typedef {import('./rest.js').ReasonCount} ReasonCount */
/** @typedef {{reason: ReasonCount | null, all: ReasonCount[], more: number, at: number}} Why */

const FRESH_MILLISECONDS = 8000;
const AT_ONCE = 4;

/**
 * Returns why each of these processes waits; takes what *known* has and is fresh.
 * @param {string[]} ids
 * @param {Map<string, Why>} known
 * @returns {Promise<Map<string, Why>>}
 */
export async function firstReasons(ids, known) {
  /** @type {Map<string, Why>} */
  const found = new Map();
  await eachOf(ids, AT_ONCE, async (id) => {
    const before = known.get(id);
    if (before && Date.now() - before.at < FRESH_MILLISECONDS) {
      found.set(id, before);
      return;
    }
    try {
      /** @type {import('./rest.js').Explanation} */
      const { reasons } = await get(`/processes/${id}/explain`);
      found.set(id, { reason: reasons[0] ?? null, all: reasons, more: Math.max(0, reasons.length - 1), at: Date.now() });
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      // Without an answer its row says nothing; the list itself is the page's to show.
    }
  });
  return found;
}

/** @typedef {{reason: string, count: number, remedies: string[], ids: string[]}} SummedReason */
/** @typedef {{processes: number, isAll: boolean, reasons: SummedReason[]}} Sum */

const MOST_REMEDIES = 3;

/**
 * Returns the reasons of a page of waiting processes, those of most items first.
 * @param {import('./rest.js').ProcessList} list
 * @param {Map<string, Why>} known  filled with what was asked
 * @returns {Promise<Sum>}
 */
export async function summed(list, known) {
  const why = await firstReasons(list.processes.map((one) => one.process_id), known);
  known.clear();
  /** @type {Map<string, SummedReason>} */
  const sums = new Map();
  for (const [id, one] of why) {
    known.set(id, one);
    for (const { reason, count, remedy } of one.all) {
      const sum = sums.get(reason) ?? { reason, count: 0, remedies: [], ids: [] };
      sum.count += count;
      sum.ids.push(id);
      if (sum.remedies.length < MOST_REMEDIES && !sum.remedies.includes(remedy)) sum.remedies.push(remedy);
      sums.set(reason, sum);
    }
  }
  const reasons = [...sums.values()].sort((one, other) => other.count - one.count);
  return { processes: list.processes.length, isAll: list.next_cursor === null, reasons };
}
