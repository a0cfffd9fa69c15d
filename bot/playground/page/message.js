'use strict';
/** One message, or one waiting interaction, as an element. Knows how a message looks; the list decides where it stands. */

import { avatar } from './avatar.js';
import { renderComponents } from './components.js';
import { h } from './dom.js';
import { renderAttachment, renderEmbed } from './embeds.js';
import { icon } from './icons.js';
import { markdown } from './markdown.js';
import { isEphemeral, isThinking } from './store.js';
import { stamp, timeElement } from './time.js';

/** @typedef {import('./store.js').Store} Store */
/** @typedef {import('./app.js').Actions} Actions */

/** @param {any} message @returns {number} Unix seconds */
export const sentAt = (message) => Date.parse(message.timestamp) / 1000;

/** @returns {HTMLElement} */
function thinking() {
  return h('p', { class: 'thinking' }, 'Pupil is thinking', h('span', { class: 'dots', 'aria-hidden': 'true' }, h('i'), h('i'), h('i')));
}

/**
 * "maria used /label", above an answer to a command.
 * @param {any} message
 * @param {Store} store
 * @returns {HTMLElement | null}
 */
function usedLine(message, store) {
  const data = message.interaction_metadata ?? message.interaction;
  if (!data?.name || (data.type !== undefined && data.type !== 2)) return null;
  const isMenu = store.commands.some((command) => command.name === data.name && command.type === 3);
  return usedBy(data.user ?? { id: '', username: 'someone' }, isMenu ? data.name : `/${data.name.replace(/^\//, '')}`, store);
}

/**
 * @param {any} user
 * @param {string} command
 * @param {Store} store
 * @returns {HTMLElement}
 */
function usedBy(user, command, store) {
  const known = store.user(user.id) ?? user;
  return h('p', { class: 'used' }, icon('reply', 16), avatar(known, 'tiny'), h('b', {}, known.global_name ?? known.username), ' used ', h('span', { class: 'command-name' }, command));
}

/**
 * @param {any} message
 * @param {Store} store
 * @param {Actions} actions
 * @returns {import('./components.js').ComponentContext}
 */
function componentContext(message, store, actions) {
  const named = (/** @type {any} */ user) => ({ id: user.id, label: user.global_name ?? user.username });
  return {
    markdown: actions.markdown,
    attachments: message.attachments ?? [],
    users: store.users.map(named),
    channels: store.channels.map((channel) => ({ id: channel.id, label: `#${channel.name}` })),
    roles: store.roles.map((role) => ({ id: role.id, label: `@${role.name}` })),
    isBusy: (customId) => actions.isBusy(message.id, customId),
    press: (customId, type, values) => actions.press(message, customId, type, values),
  };
}

/**
 * Everything the message says.
 * @param {any} message
 * @param {Store} store
 * @param {Actions} actions
 * @returns {(Node | null)[]}
 */
function body(message, store, actions) {
  if (isThinking(message)) return [thinking()];
  const attachments = message.attachments ?? [];
  const shownElsewhere = JSON.stringify([message.embeds ?? [], message.components ?? []]);
  const loose = attachments.filter((/** @type {any} */ file) => !shownElsewhere.includes(`attachment://${file.filename}`) && !shownElsewhere.includes(file.url));
  return [
    message.content ? markdown(message.content, actions.markdown) : null,
    ...(message.embeds ?? []).map((/** @type {any} */ embed) => renderEmbed(embed, attachments, actions.markdown)),
    ...loose.map(renderAttachment),
    ...renderComponents(message.components, componentContext(message, store, actions)),
  ];
}

/**
 * @param {any} message
 * @param {any} author
 * @returns {HTMLElement}
 */
function headLine(message, author) {
  const unix = sentAt(message);
  return h(
    'p', { class: 'head' },
    h('span', { class: 'author' }, author.global_name ?? author.username),
    author.bot && h('span', { class: 'tag' }, 'App'),
    timeElement(unix, 't', 'when'),
  );
}

/**
 * @param {any} message
 * @param {Actions} actions
 * @returns {HTMLElement}
 */
function privateLine(message, actions) {
  return h('p', { class: 'private' }, icon('eye', 15), ' Only you can see this · ', h('button', { class: 'text-button', type: 'button', onclick: () => actions.dismiss(message) }, 'Dismiss'));
}

/**
 * @param {any} message
 * @param {Store} store
 * @param {Actions} actions
 * @param {boolean} continues whether it goes on the message above (same author, shortly after)
 * @returns {HTMLElement}
 */
export function renderMessage(message, store, actions, continues) {
  const author = { ...store.user(message.author.id), ...message.author };
  const used = usedLine(message, store);
  const more = h('button', { class: 'icon-button message-more', type: 'button', 'aria-label': 'Message menu', 'aria-haspopup': 'menu', onclick: () => actions.messageMenu(message, more) }, icon('more', 18));
  const failure = actions.componentFailure(message.id);
  const element = h(
    'article',
    { class: `message${continues ? ' continues' : ''}${isEphemeral(message) ? ' ephemeral' : ''}`, 'data-id': message.id, 'aria-label': `${author.global_name ?? author.username}, ${stamp(sentAt(message), 't')}` },
    used,
    h('div', { class: 'gutter' }, continues ? timeElement(sentAt(message), 't', 'when') : avatar(author)),
    h('div', { class: 'content' },
      continues ? null : headLine(message, author),
      ...body(message, store, actions),
      message.edited_timestamp && !author.bot && h('span', { class: 'edited' }, '(edited)'),
      failure && h('p', { class: 'failed' }, icon('alert', 16), failure),
      isEphemeral(message) && privateLine(message, actions)),
    isThinking(message) || isEphemeral(message) ? null : more,
  );
  watchForMenu(element, message, more, actions);
  return element;
}

/**
 * Right press and long press open the message menu.
 * @param {HTMLElement} element
 * @param {any} message
 * @param {HTMLElement} more
 * @param {Actions} actions
 */
function watchForMenu(element, message, more, actions) {
  if (isThinking(message) || isEphemeral(message)) return;
  let timer = 0;
  const stop = () => window.clearTimeout(timer);
  element.addEventListener('contextmenu', (event) => {
    if (/** @type {HTMLElement} */ (event.target).closest('a, img') || window.getSelection()?.toString()) return;
    event.preventDefault();
    actions.messageMenu(message, more, { x: event.clientX, y: event.clientY });
  });
  element.addEventListener('pointerdown', (event) => {
    if (event.pointerType !== 'touch' || /** @type {HTMLElement} */ (event.target).closest('a, button')) return;
    timer = window.setTimeout(() => actions.messageMenu(message, more, { x: event.clientX, y: event.clientY }), 550);
  });
  for (const name of ['pointerup', 'pointercancel', 'pointermove']) element.addEventListener(name, stop);
}

/**
 * An interaction without a message: still waiting, or failed.
 * @param {import('./store.js').Waiting} entry
 * @param {Store} store
 * @param {Actions} actions
 * @returns {HTMLElement}
 */
export function renderWaiting(entry, store, actions) {
  const bot = { ...store.bot, bot: true };
  const dismiss = h('button', { class: 'text-button', type: 'button', onclick: () => actions.forget(entry.id) }, 'Dismiss');
  const state = entry.failed
    ? [h('p', { class: 'failed' }, icon('alert', 16), entry.error || 'The application did not respond'), h('p', { class: 'private' }, icon('eye', 15), ' Only you can see this · ', dismiss)]
    : [thinking()];
  return h(
    'article', { class: `message waiting${entry.failed ? ' ephemeral' : ''}`, 'data-interaction': entry.id },
    usedBy(store.user(entry.userId) ?? store.me ?? { id: '', username: 'someone' }, entry.command, store),
    h('div', { class: 'gutter' }, avatar(bot)),
    h('div', { class: 'content' }, h('p', { class: 'head' }, h('span', { class: 'author' }, store.botName), h('span', { class: 'tag' }, 'App')), ...state),
  );
}
