/** Saves a picture of a phone's screen as a file. */

import { getBlob } from '../api.js';

/** @param {string} phoneId */
export async function saveStill(phoneId) {
  const picture = await getBlob(`/phones/${encodeURIComponent(phoneId)}/still?format=png`);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(picture);
  link.download = `${phoneId}-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}.png`;
  link.click();
  URL.revokeObjectURL(link.href);
}
