'use strict';
/** The message list of the open channel: order, grouping, days, scrolling. What one message looks like: message.js. */

import { announce, byId, fill, h } from './dom.js';
import { icon } from './icons.js';
import { renderMessage, renderWaiting, sentAt } from './message.js';
import { interactionOf, isEphemeral } from './store.js';
import { dayName, startOfDay } from './time.js';

/** Seconds after which the same author gets a new head line. */
const GROUP_GAP = 7 * 60;

/**
 * @param {any} above
 * @param {any} message
 * @returns {boolean}
 */
function sameDay(above, message) {
  return startOfDay(new Date(above.timestamp)) === startOfDay(new Date(message.timestamp));
}

/**
 * Whether a message goes on the one above: same author, shortly after, no command line of its own.
 * @param {any | undefined} above
 * @param {any} message
 * @returns {boolean}
 */
export function continuesAbove(above, message) {
  if (!above || above.author.id !== message.author.id || interactionOf(message)) return false;
  if (isEphemeral(above) !== isEphemeral(message)) return false;
  return sameDay(above, message) && sentAt(message) - sentAt(above) < GROUP_GAP;
}

export class MessageList {
  /**
   * @param {import('./store.js').Store} store
   * @param {import('./app.js').Actions} actions
   * @param {(channel: any) => Node} welcome what an empty channel shows
   */
  constructor(store, actions, welcome) {
    this.store = store;
    this.actions = actions;
    this.welcome = welcome;
    this.log = byId('log');
    this.jump = byId('to-newest');
    this.loading = false;
    /** @type {Set<string>} channels whose oldest message is here */
    this.complete = new Set();
    // Every channel begins again with its newest messages.
    store.addEventListener('hello', () => this.complete.clear());
    this.jump.addEventListener('click', () => this.toNewest());
    this.log.addEventListener('scroll', () => this.scrolled(), { passive: true });
    new ResizeObserver(() => this.stick && this.toNewest()).observe(this.log);
    // A picture that arrives makes its message higher.
    this.log.addEventListener('load', () => this.stick && this.toNewest(), { capture: true });
    this.stick = true;
  }

  /** @returns {any[]} */
  get messages() {
    return this.store.list(this.store.channelId);
  }

  /** Draws the whole channel and goes to its newest message. */
  draw() {
    const { messages } = this;
    // A live region would read a whole channel aloud: it is switched off while the channel is drawn.
    this.log.setAttribute('aria-live', 'off');
    fill(this.log, this.top(), messages.flatMap((message, index) => this.rows(message, index)), this.waitingRows());
    this.toNewest();
    window.setTimeout(() => this.log.setAttribute('aria-live', 'polite'), 300);
  }

  /** @returns {Node} */
  top() {
    const channel = this.store.channels.find((known) => known.id === this.store.channelId);
    return channel ? this.welcome(channel) : h('div');
  }

  /**
   * A message with the day line above it where a day begins.
   * @param {any} message
   * @param {number} index
   * @returns {Node[]}
   */
  rows(message, index) {
    const above = this.messages[index - 1];
    const element = renderMessage(message, this.store, this.actions, continuesAbove(above, message));
    if (above && sameDay(above, message)) return [element];
    return [h('p', { class: 'day', role: 'separator' }, h('span', {}, dayName(new Date(message.timestamp)))), element];
  }

  /** @returns {HTMLElement[]} */
  waitingRows() {
    const here = [...this.store.waiting.values()].filter((entry) => entry.channelId === this.store.channelId && !entry.component);
    return here.map((entry) => renderWaiting(entry, this.store, this.actions));
  }

  /** @param {{kind: string, message: any}} change */
  apply({ kind, message }) {
    if (message.channel_id !== this.store.channelId) return;
    if (kind === 'create') this.add(message);
    else if (kind === 'update') this.replace(message);
    else this.redraw();
  }

  /** @param {any} message */
  add(message) {
    const stick = this.stick || message.author.id === this.store.me?.id;
    const index = this.messages.indexOf(message);
    const firstWaiting = this.log.querySelector('[data-interaction]');
    for (const row of this.rows(message, index)) this.log.insertBefore(row, firstWaiting);
    this.log.querySelector('.welcome')?.classList.toggle('short', this.messages.length > 0);
    this.follow(stick);
  }

  /**
   * Draws one message again and keeps the focus on the same button.
   * @param {any} message
   */
  replace(message) {
    const old = this.find(message.id);
    if (!old) return;
    const { stick } = this;
    const focused = old.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement) : null;
    const index = this.messages.findIndex((known) => known.id === message.id);
    const element = renderMessage(this.messages[index], this.store, this.actions, continuesAbove(this.messages[index - 1], message));
    old.replaceWith(element);
    if (focused) this.restoreFocus(element, focused);
    this.follow(stick);
  }

  /**
   * @param {HTMLElement} element
   * @param {HTMLElement} focused the element that had the focus and is gone
   */
  restoreFocus(element, focused) {
    const buttons = /** @type {HTMLElement[]} */ ([...element.querySelectorAll('button')]);
    const same = buttons.find((button) => button.dataset.customId && button.dataset.customId === focused.dataset.customId);
    const target = same && !same.hasAttribute('disabled') ? same : this.log;
    target.focus({ preventScroll: true });
  }

  /** @param {string} id @returns {HTMLElement | null} */
  find(id) {
    return this.log.querySelector(`[data-id="${CSS.escape(id)}"]`);
  }

  /** @param {import('./store.js').Waiting} entry */
  applyWaiting(entry) {
    if (entry.component) return this.applyComponent(entry.component.messageId);
    const { stick } = this;
    this.log.querySelectorAll('[data-interaction]').forEach((row) => row.remove());
    this.log.append(...this.waitingRows());
    if (entry.failed && this.store.waiting.has(entry.id)) announce(`${entry.command}: ${entry.error || 'The application did not respond'}`);
    this.follow(stick);
  }

  /** @param {string} messageId */
  applyComponent(messageId) {
    const message = this.messages.find((known) => known.id === messageId);
    if (message) this.replace(message);
  }

  /** @param {boolean} stick */
  follow(stick) {
    if (stick) this.toNewest();
    else this.jump.hidden = false;
  }

  toNewest() {
    this.log.scrollTop = this.log.scrollHeight;
    this.stick = true;
    this.jump.hidden = true;
  }

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.log;
    this.stick = scrollHeight - scrollTop - clientHeight < 60;
    if (this.stick) this.jump.hidden = true;
    if (scrollTop < 80 && scrollHeight > clientHeight) this.older();
  }

  /** Loads older messages once the reader comes near the top; what they read stays where it is. */
  async older() {
    const { channelId } = this.store;
    if (this.loading || this.complete.has(channelId) || this.messages.length === 0) return;
    this.loading = true;
    try {
      const count = await this.store.loadOlder(channelId);
      if (count === 0) this.complete.add(channelId);
      else if (channelId === this.store.channelId) this.redrawAbove();
    } catch {
      this.complete.delete(channelId);
    } finally {
      this.loading = false;
    }
  }

  /** Draws the channel again where a message is gone; whoever reads older ones stays there. */
  redraw() {
    if (this.stick) return this.draw();
    const { scrollTop } = this.log;
    const { hidden } = this.jump;
    this.draw();
    this.log.scrollTop = scrollTop;
    this.stick = false;
    this.jump.hidden = hidden;
  }

  redrawAbove() {
    const fromEnd = this.log.scrollHeight - this.log.scrollTop;
    this.draw();
    this.log.scrollTop = this.log.scrollHeight - fromEnd;
    this.stick = false;
  }
}

/**
 * What a channel shows above its first message.
 * @param {any} channel
 * @param {{title: string, text: string, icon: string, run: () => void}[]} ideas
 * @param {boolean} short without the ideas
 * @returns {HTMLElement}
 */
export function welcomeCard(channel, ideas, short) {
  const cards = ideas.map((idea) => h(
    'button', { class: 'idea', type: 'button', onclick: idea.run },
    h('span', { class: 'idea-icon' }, icon(idea.icon)), h('span', { class: 'idea-text' }, h('b', {}, idea.title), h('span', {}, idea.text)),
  ));
  return h(
    'section', { class: `welcome${short ? ' short' : ''}`, 'aria-label': `About #${channel.name}` },
    h('h2', {}, `Welcome to #${channel.name}`),
    h('p', {}, channel.topic || 'This is the beginning of the channel.'),
    h('div', { class: 'ideas' }, cards),
  );
}
