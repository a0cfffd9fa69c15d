'use strict';
/** Round pictures with initials, one colour a person; the bot wears the Pupil sign. */

import { h } from './dom.js';

const COLOURS = ['#a4512f', '#3f6d5a', '#7a4a78', '#3d6285', '#80602a', '#9a3f55'];

/**
 * @param {string} id
 * @returns {string} always the same colour for the same id
 */
function colourOf(id) {
  let sum = 0;
  for (const letter of id) sum = (sum * 31 + letter.charCodeAt(0)) % 997;
  return COLOURS[sum % COLOURS.length];
}

/**
 * @param {string} name
 * @returns {string} one or two letters
 */
function initials(name) {
  const words = name.trim().split(/\s+/);
  return (words.length > 1 ? words[0][0] + words[1][0] : words[0].slice(0, 1)).toUpperCase();
}

/**
 * @param {{id: string, username: string, global_name?: string | null, colour?: string, bot?: boolean}} user
 * @param {string} [size] "", "small" or "tiny"
 * @returns {HTMLElement} decorative: the name stands beside it
 */
export function avatar(user, size = '') {
  if (user.bot) return h('span', { class: `avatar bot ${size}`, 'aria-hidden': 'true' }, h('img', { src: '/page/icon.svg', alt: '' }));
  const element = h('span', { class: `avatar ${size}`, 'aria-hidden': 'true' }, initials(user.global_name ?? user.username));
  element.style.backgroundColor = user.colour && /^#[0-9a-f]{6}$/i.test(user.colour) ? user.colour : colourOf(user.id);
  return element;
}
