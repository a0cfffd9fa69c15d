'use strict';
/** Channels, people and who you are. Draws from the store; switching is given to it. */

import { avatar } from './avatar.js';
import { byId, fill, h } from './dom.js';
import { icon } from './icons.js';
import { openMenu } from './popup.js';

/** @param {any} user @returns {string} */
const nameOf = (user) => user.global_name ?? user.username;

/** @param {any} user @returns {string} */
const roleOf = (user) => (user.lead ? 'Lead' : 'Member');

export class Sidebar {
  /**
   * @param {import('./store.js').Store} store
   * @param {{openChannel: (id: string) => void, actAs: (id: string) => void}} actions
   */
  constructor(store, actions) {
    this.store = store;
    this.actions = actions;
  }

  /** Draws everything; the focus stays on the same button. */
  draw() {
    const focused = byId('sidebar').contains(document.activeElement) ? document.activeElement?.getAttribute('data-key') : null;
    byId('guild-name').textContent = this.store.guild?.name ?? 'Pupil playground';
    fill(byId('channels'), this.store.channels.map((channel) => this.channel(channel)));
    fill(byId('people'), this.bot(), this.store.users.map((user) => this.person(user)));
    fill(byId('me'), this.me());
    if (focused) this.restoreFocus(focused);
  }

  /** @param {string} key */
  restoreFocus(key) {
    const same = byId('sidebar').querySelector(`[data-key="${CSS.escape(key)}"]`);
    /** @type {HTMLElement | null} */ (same)?.focus({ preventScroll: true });
  }

  /** @param {any} channel @returns {HTMLElement} */
  channel(channel) {
    const open = channel.id === this.store.channelId;
    const count = this.store.unread.get(channel.id) ?? 0;
    return h('li', {}, h(
      'button', { class: `channel${count ? ' unread' : ''}`, type: 'button', 'data-key': channel.id, 'aria-current': open ? 'page' : null, onclick: () => this.actions.openChannel(channel.id) },
      icon('hash', 18), h('span', { class: 'channel-label' }, channel.name),
      count > 0 && h('span', { class: 'count' }, String(count), h('span', { class: 'sr-only' }, ' new messages')),
    ));
  }

  /** @returns {HTMLElement} */
  bot() {
    const { bot } = this.store;
    return h(
      'li', { class: `person${bot.online ? '' : ' away'}` }, avatar({ ...bot, bot: true }, 'small'),
      h('span', { class: 'person-name' }, this.store.botName), h('span', { class: 'tag' }, 'App'),
      h('span', { class: `presence${bot.online ? ' online' : ''}` }, bot.online ? 'online' : 'offline'),
    );
  }

  /** @param {any} user @returns {HTMLElement} */
  person(user) {
    return h('li', { class: 'person' }, avatar(user, 'small'), h('span', { class: 'person-name' }, nameOf(user)), h('span', { class: 'person-role' }, user.id === this.store.me?.id ? 'you' : roleOf(user)));
  }

  /** @returns {HTMLElement | null} */
  me() {
    const { me } = this.store;
    if (!me) return null;
    const button = h(
      'button', { class: 'me-button', type: 'button', 'data-key': 'me', 'aria-haspopup': 'menu', 'aria-label': `You are ${nameOf(me)}, ${roleOf(me)}. Switch person`, onclick: () => this.switcher(button) },
      avatar(me), h('span', { class: 'me-text' }, h('b', {}, nameOf(me)), h('span', {}, roleOf(me))), h('span', { class: 'me-switch' }, icon('swap', 18), 'Switch'),
    );
    return button;
  }

  /** @param {HTMLElement} anchor */
  switcher(anchor) {
    const items = this.store.users.map((user) => ({ label: nameOf(user), hint: roleOf(user), icon: avatar(user, 'small'), checked: user.id === this.store.me?.id, run: () => this.actions.actAs(user.id) }));
    openMenu(items, { anchor, label: 'Act as' });
  }
}
