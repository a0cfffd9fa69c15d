'use strict';
/**
 * Discord's markdown subset as DOM nodes. Text becomes text nodes only, so nothing a person writes can become markup.
 * Knows no messages: names of users and channels and what a command mention does come from `MarkdownContext`.
 */

import { h, safeUrl } from './dom.js';
import { timeElement } from './time.js';

/**
 * @typedef {object} MarkdownContext
 * @property {(id: string) => string} userName
 * @property {(id: string) => string} channelName
 * @property {(id: string) => string} roleName
 * @property {(name: string) => void} openCommand
 * @property {(id: string) => void} openChannel
 */

const MAX_DEPTH = 6;
const MAX_TIME = 8.64e12;

/** One alternative per inline form, tried in this order at every position. */
const INLINE = new RegExp([
  String.raw`\\(?<escaped>[^0-9A-Za-z\s])`,
  '(?<ticks>`+)(?<code>[^`]|[^`][\\s\\S]*?[^`])\\k<ticks>(?!`)',
  String.raw`<t:(?<unix>-?\d{1,13})(?::(?<style>[tTdDfFR]))?>`,
  String.raw`<@!?(?<user>\d+)>`,
  String.raw`<@&(?<role>\d+)>`,
  String.raw`<#(?<channel>\d+)>`,
  String.raw`<\/(?<command>[^:>\n]{1,100}):\d+>`,
  String.raw`<a?(?<emoji>:\w+:)\d+>`,
  String.raw`\[(?<label>[^\]\n]+)\]\(<?(?<href>https?:\/\/[^\s)>]+)>?\)`,
  String.raw`<?(?<url>https?:\/\/[^\s<>]*[^\s<>.,:;"')\]])>?`,
  String.raw`\*\*\*(?=\S)(?<boldItalic>[\s\S]+?)\*\*\*`,
  String.raw`\*\*(?=\S)(?<bold>[\s\S]+?)\*\*(?!\*)`,
  String.raw`__(?=\S)(?<underline>[\s\S]+?)__(?!_)`,
  String.raw`~~(?=\S)(?<strike>[\s\S]+?)~~`,
  String.raw`\|\|(?<spoiler>[\s\S]+?)\|\|`,
  String.raw`\*(?=\S)(?<star>[^*\n]+?)\*`,
  String.raw`(?<![A-Za-z0-9_])_(?=\S)(?<under>[^_\n]+?)_(?![A-Za-z0-9_])`,
].join('|'), 'g');

const WRAPPERS = /** @type {Record<string, string[]>} */ ({
  boldItalic: ['strong', 'em'], bold: ['strong'], underline: ['u'], strike: ['s'], star: ['em'], under: ['em'],
});

/**
 * @param {string} text
 * @returns {HTMLElement}
 */
function spoilerShell(text) {
  const reveal = (/** @type {Event} */ event) => {
    const target = /** @type {HTMLElement} */ (event.currentTarget);
    target.setAttribute('aria-expanded', 'true');
    target.removeAttribute('aria-label');
  };
  return h('button', { class: 'spoiler', type: 'button', 'aria-expanded': 'false', 'aria-label': 'Spoiler: show', onclick: reveal }, text);
}

/**
 * @param {string} href
 * @param {(Node | string)[]} children
 * @returns {Node}
 */
function link(href, children) {
  const url = safeUrl(href);
  if (!url) return h('span', {}, children);
  return h('a', { href: url, target: '_blank', rel: 'noopener noreferrer nofollow' }, children);
}

/**
 * Mentions, times and other forms that hold an id instead of text.
 * @param {Record<string, string | undefined>} found
 * @param {MarkdownContext} context
 * @returns {Node | string | null}
 */
function reference(found, context) {
  const { user, role, channel, command } = found;
  if (found.unix !== undefined) {
    const unix = Number(found.unix);
    return Math.abs(unix) > MAX_TIME ? found.unix : timeElement(unix, found.style ?? 'f');
  }
  if (user) return h('span', { class: 'mention' }, `@${context.userName(user)}`);
  if (role) return h('span', { class: 'mention' }, `@${context.roleName(role)}`);
  if (channel) {
    return h('button', { class: 'mention', type: 'button', onclick: () => context.openChannel(channel) }, `#${context.channelName(channel)}`);
  }
  if (command) {
    return h('button', { class: 'mention command', type: 'button', onclick: () => context.openCommand(command) }, `/${command}`);
  }
  return found.emoji ?? null;
}

/**
 * @param {Record<string, string | undefined>} found named groups of one match
 * @param {MarkdownContext} context
 * @param {number} depth
 * @returns {Node | string}
 */
function inlineNode(found, context, depth) {
  if (found.escaped !== undefined) return found.escaped;
  if (found.code !== undefined) return h('code', {}, found.code.trim() || found.code);
  if (found.spoiler !== undefined) return spoilerShell(found.spoiler);
  if (found.href !== undefined) return link(found.href, inline(found.label ?? '', context, depth + 1));
  if (found.url !== undefined) return link(found.url, [found.url]);
  for (const [name, tags] of Object.entries(WRAPPERS)) {
    const inner = found[name];
    if (inner === undefined) continue;
    return tags.reduceRight((/** @type {(Node | string)[]} */ nodes, tag) => [h(tag, {}, nodes)], inline(inner, context, depth + 1))[0];
  }
  return reference(found, context) ?? '';
}

/**
 * Inline markdown of one block.
 * @param {string} text
 * @param {MarkdownContext} context
 * @param {number} [depth]
 * @returns {(Node | string)[]}
 */
export function inline(text, context, depth = 0) {
  if (depth > MAX_DEPTH) return [text];
  const nodes = /** @type {(Node | string)[]} */ ([]);
  let position = 0;
  for (const match of text.matchAll(INLINE)) {
    const index = match.index ?? 0;
    if (index > position) nodes.push(text.slice(position, index));
    nodes.push(inlineNode(match.groups ?? {}, context, depth));
    position = index + match[0].length;
  }
  if (position < text.length) nodes.push(text.slice(position));
  return nodes;
}

/**
 * @typedef {object} Block
 * @property {string} kind heading1…3, subtext, quote, item or text (numbered lines too: their numbers stay as typed)
 * @property {string} text
 * @property {number} level indentation of list items
 */

/**
 * @param {string} line
 * @returns {Block}
 */
function classify(line) {
  const heading = /^(#{1,3}) +(.+)$/.exec(line);
  if (heading) return { kind: `heading${heading[1].length}`, text: heading[2], level: 0 };
  const subtext = /^-# +(.+)$/.exec(line);
  if (subtext) return { kind: 'subtext', text: subtext[1], level: 0 };
  const quote = /^> ?(.*)$/.exec(line);
  if (quote && line !== '>') return { kind: 'quote', text: quote[1], level: 0 };
  const item = /^( *)[-*] +(.+)$/.exec(line);
  if (item) return { kind: 'item', text: item[2], level: Math.min(3, Math.floor(item[1].length / 2)) };
  return { kind: 'text', text: line, level: 0 };
}

/**
 * Consecutive lines of one kind as one element.
 * @param {Block[]} run
 * @param {MarkdownContext} context
 * @returns {Node}
 */
function blockElement(run, context) {
  const { kind, text } = run[0];
  if (kind.startsWith('heading')) return h('p', { class: kind, role: 'heading', 'aria-level': Number(kind.at(-1)) + 2 }, inline(text, context));
  if (kind === 'subtext') return h('p', { class: 'subtext' }, inline(text, context));
  if (kind === 'item') return listElement(run, context);
  const joined = run.map((block) => block.text).join('\n');
  if (kind === 'quote') return h('blockquote', {}, inline(joined, context));
  return h('p', {}, inline(joined.replace(/^\n+|\n+$/g, ''), context));
}

/**
 * @param {Block[]} run
 * @param {MarkdownContext} context
 * @returns {HTMLElement}
 */
function listElement(run, context) {
  return h('ul', {}, run.map((block) => h('li', { class: `level-${block.level}` }, inline(block.text, context))));
}

/**
 * @param {string} kind
 * @returns {boolean} whether neighbours of this kind belong together
 */
const joins = (kind) => kind === 'quote' || kind === 'item' || kind === 'text';

/**
 * @param {string} text without code blocks
 * @param {MarkdownContext} context
 * @returns {Node[]}
 */
function blocks(text, context) {
  const runs = /** @type {Block[][]} */ ([]);
  for (const block of text.split('\n').map(classify)) {
    const last = runs.at(-1);
    if (last && last[0].kind === block.kind && joins(block.kind)) last.push(block);
    else runs.push([block]);
  }
  return runs.filter((run) => run.some((block) => block.text.trim() !== '')).map((run) => blockElement(run, context));
}

/**
 * A whole text: code blocks first, everything else between them.
 * @param {string} text
 * @param {MarkdownContext} context
 * @returns {HTMLElement}
 */
export function markdown(text, context) {
  const root = h('div', { class: 'markdown' });
  const fence = /```(?:([\w+-]+)\n)?([\s\S]*?)```/g;
  let position = 0;
  for (const match of text.matchAll(fence)) {
    root.append(...blocks(text.slice(position, match.index), context));
    root.append(h('pre', { tabindex: '0' }, h('code', { 'data-language': match[1] }, match[2].replace(/^\n|\n$/g, ''))));
    position = (match.index ?? 0) + match[0].length;
  }
  root.append(...blocks(text.slice(position), context));
  return root;
}
