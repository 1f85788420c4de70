/** Who watches a phone now, by the audit: whose `watch` has no `watch_end` yet. */

/** @param {import('../rest.js').AuditEntry[]} audit @returns {string[]} names, each once */
export function watchersOf(audit) {
  /** @type {Map<string, number>} */
  const open = new Map();
  for (const { actor, verb } of [...audit].sort((one, other) => (one.at ?? '').localeCompare(other.at ?? ''))) {
    const count = open.get(actor) ?? 0;
    if (verb === 'watch') open.set(actor, count + 1);
    if (verb === 'watch_end') open.set(actor, Math.max(0, count - 1));
  }
  return [...open].filter(([, count]) => count > 0).map(([actor]) => actor);
}
