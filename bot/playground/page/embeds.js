'use strict';
/** Embeds and attachments of a message as elements. Knows Discord's field names, nothing about sending. */

import { h, safeUrl } from './dom.js';
import { icon } from './icons.js';
import { inline, markdown } from './markdown.js';
import { fileSize, timeElement } from './time.js';

/** @typedef {import('./markdown.js').MarkdownContext} MarkdownContext */

/**
 * "#1f8b4c" from Discord's integer.
 * @param {number | null | undefined} colour
 * @returns {string | null}
 */
export function cssColour(colour) {
  if (colour === null || colour === undefined) return null;
  return `#${Math.max(0, Math.min(0xffffff, colour)).toString(16).padStart(6, '0')}`;
}

/**
 * @param {string | undefined} address may be "attachment://name"
 * @param {any[]} attachments of the same message
 * @returns {string | null}
 */
export function mediaUrl(address, attachments) {
  if (!address) return null;
  const target = address.startsWith('attachment://') ? attached(address, attachments)?.url : address;
  return target ? safeUrl(target) : null;
}

/**
 * The file of the same message that an embed shows, if it shows one.
 * @param {string | undefined} address
 * @param {any[]} attachments of the same message
 * @returns {any}
 */
function attached(address, attachments) {
  return attachments.find((file) => address === `attachment://${file.filename}` || address === file.url);
}

/**
 * A picture that opens in a new tab.
 * @param {string | null} url
 * @param {string} description its alternative text
 * @param {string} className
 * @returns {HTMLElement | null}
 */
export function picture(url, description, className) {
  if (!url) return null;
  const image = h('img', { src: url, alt: description, loading: 'lazy', decoding: 'async' });
  return h('a', { class: className, href: url, target: '_blank', rel: 'noopener noreferrer' }, image);
}

/**
 * @param {any} field
 * @param {MarkdownContext} context
 * @returns {HTMLElement}
 */
function embedField(field, context) {
  return h('div', { class: field.inline ? 'field inline' : 'field' }, h('dt', {}, inline(field.name, context)), h('dd', {}, markdown(field.value, context)));
}

/**
 * @param {any} embed
 * @param {MarkdownContext} context
 * @returns {HTMLElement | null}
 */
function embedTitle(embed, context) {
  if (!embed.title) return null;
  const words = inline(embed.title, context);
  const url = embed.url ? safeUrl(embed.url) : null;
  return h('p', { class: 'embed-title' }, url ? h('a', { href: url, target: '_blank', rel: 'noopener noreferrer' }, words) : words);
}

/**
 * @param {any} embed
 * @returns {HTMLElement | null}
 */
function embedFooter(embed) {
  if (!embed.footer?.text && !embed.timestamp) return null;
  const time = embed.timestamp && timeElement(Date.parse(embed.timestamp) / 1000, 'f', 'embed-time');
  return h('p', { class: 'embed-footer' }, embed.footer?.text, embed.footer?.text && time && ' · ', time);
}

/**
 * @param {any} embed
 * @param {any[]} attachments of the same message
 * @param {MarkdownContext} context
 * @returns {HTMLElement}
 */
export function renderEmbed(embed, attachments, context) {
  const fields = (embed.fields ?? []).map((/** @type {any} */ field) => embedField(field, context));
  const card = h(
    'article', { class: 'embed' },
    h('div', { class: 'embed-body' },
      embed.author?.name && h('p', { class: 'embed-author' }, embed.author.name),
      embedTitle(embed, context),
      embed.description && markdown(embed.description, context),
      fields.length > 0 && h('dl', { class: 'fields' }, fields),
      picture(mediaUrl(embed.image?.url, attachments), embed.image?.description ?? attached(embed.image?.url, attachments)?.description ?? embed.title ?? 'Picture', 'embed-image'),
      embedFooter(embed)),
    picture(mediaUrl(embed.thumbnail?.url, attachments), embed.thumbnail?.description ?? '', 'embed-thumbnail'),
  );
  const colour = cssColour(embed.color);
  if (colour) card.style.setProperty('--bar', colour);
  return card;
}

/**
 * Pictures inline with their alternative text, everything else as a download.
 * @param {any} file
 * @returns {HTMLElement | null}
 */
export function renderAttachment(file) {
  const url = safeUrl(file.url);
  if (!url) return null;
  const isPicture = /^image\/(png|jpeg|gif|webp)/.test(file.content_type ?? '') || /\.(png|jpe?g|gif|webp)$/i.test(file.filename);
  if (isPicture) return picture(url, file.description ?? file.filename, 'attachment-image');
  return fileCard(url, file.filename, file.size);
}

/**
 * @param {string} url
 * @param {string} name
 * @param {number} [size] bytes
 * @returns {HTMLElement}
 */
export function fileCard(url, name, size) {
  return h(
    'a', { class: 'file-card', href: url, download: name },
    icon('file', 26),
    h('span', { class: 'file-text' }, h('span', { class: 'file-name' }, name), size !== undefined && h('span', { class: 'file-size' }, fileSize(size))),
    h('span', { class: 'file-action' }, icon('download', 18), h('span', { class: 'sr-only' }, 'Download')),
  );
}
