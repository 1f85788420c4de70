/** Selectors of an element, as app profiles write them (docs/app-profiles.md). */

/** @typedef {import('../rest.js').Node} Node */

/** The keys that a selector compares, the most stable first. @type {[string, (node: Node) => string][]} */
const KEYS = [
  ['id', (node) => shortId(node)],
  ['description', (node) => node.description],
  ['text', (node) => node.text],
  ['class', (node) => node.class_name],
];

/** A resource id without the prefix that the profile's package implies. @param {Node} node */
function shortId(node) {
  const own = `${node.package}:id/`;
  return node.resource_id.startsWith(own) ? node.resource_id.slice(own.length) : node.resource_id;
}

/** A string of TOML; JSON's escapes are among those of TOML. @param {string} value */
const quoted = (value) => JSON.stringify(value);

/**
 * Each selector that finds the element at *index*, the most stable first. One that others match too
 * has the number of the element among them.
 * @param {Node[]} nodes @param {number} index @returns {string[]}
 */
export function selectorsOf(nodes, index) {
  const node = nodes[index];
  /** @type {string[]} */
  const found = [];
  for (const [name, value] of KEYS) {
    const wanted = value(node);
    if (!wanted) continue;
    const same = nodes.filter((one) => value(one) === wanted);
    const number = same.length > 1 ? `, index = ${same.indexOf(node)}` : '';
    found.push(`{ ${name} = ${quoted(wanted)}${number} }`);
  }
  return found;
}

/** A short name for an element, as a profile may call it. @param {Node} node */
export function nameOf(node) {
  const from = shortId(node).split('/').pop() || node.description || node.text || node.class_name.split('.').pop() || '';
  const name = from.toLowerCase().replace(/[^a-z0-9]+/g, '_').replace(/^_+|_+$/g, '').slice(0, 40);
  return name || 'view';
}

/**
 * A line for `[selectors.GROUP]` of a profile: the most stable selector, or with alternatives when
 * that one needs a number.
 * @param {Node[]} nodes @param {number} index
 */
export function profileLine(nodes, index) {
  const all = selectorsOf(nodes, index);
  const [first = '{}', ...others] = all.sort((one, other) => Number(one.includes(', index')) - Number(other.includes(', index')));
  const isSure = first.startsWith('{ id') && !first.includes(', index');
  const value = isSure || !others.length ? first : `[${[first, ...others].join(', ')}]`;
  return `${nameOf(nodes[index])} = ${value}`;
}

/**
 * The smallest element that has a point, in pixels of the phone; the last of several as small,
 * which is drawn above the others. -1 when there is none.
 * @param {Node[]} nodes @param {number} x @param {number} y
 */
export function elementAt(nodes, x, y) {
  let best = -1;
  let least = Infinity;
  nodes.forEach(({ bounds: [left, top, right, bottom] }, index) => {
    const size = (right - left) * (bottom - top);
    if (x >= left && x < right && y >= top && y < bottom && size > 0 && size <= least) {
      best = index;
      least = size;
    }
  });
  return best;
}
