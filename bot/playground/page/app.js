'use strict';
/** The page's composition: connection → store → views, and what their buttons do. */

import { Composer } from './composer.js';
import { announce, byId, fill, h } from './dom.js';
import { icon } from './icons.js';
import { Lesson } from './lesson.js';
import { MessageList, welcomeCard } from './messages.js';
import { openModal } from './modal.js';
import { openMenu } from './popup.js';
import { Sidebar } from './sidebar.js';
import { Connection } from './socket.js';
import { Store } from './store.js';
import { refreshRelative } from './time.js';

const FAILED = 'This interaction failed';

/**
 * What views may ask for.
 * @typedef {object} Actions
 * @property {import('./markdown.js').MarkdownContext} markdown
 * @property {(messageId: string, customId: string) => boolean} isBusy
 * @property {(messageId: string) => string | null} componentFailure
 * @property {(message: any, customId: string, type: number, values?: string[]) => void} press
 * @property {(message: any) => void} dismiss
 * @property {(interactionId: string) => void} forget
 * @property {(message: any, anchor: HTMLElement, at?: {x: number, y: number}) => void} messageMenu
 * @property {(leaf: import('./commands.js').Leaf, options: any[]) => Promise<void>} runCommand
 * @property {(content: string, files: string[]) => Promise<void>} say
 */

class App {
  constructor() {
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    this.connection = new Connection(`${scheme}//${location.host}/playground/socket`);
    this.store = new Store(this.connection);
    this.shell = byId('app');
    this.banner = byId('banner');
    /** @type {Map<string, Set<string>>} message id → custom ids whose press was sent and not answered */
    this.busy = new Map();
    /** @type {Map<string, string>} message id → why its last press failed */
    this.failures = new Map();
    this.retryAt = 0;
    this.connected = false;
    this.actions = this.makeActions();
    this.sidebar = new Sidebar(this.store, { openChannel: (id) => this.openChannel(id), actAs: (id) => this.actAs(id) });
    this.list = new MessageList(this.store, this.actions, (channel) => this.welcome(channel));
    this.composer = new Composer(this.store, this.actions);
    this.lesson = new Lesson({ ask: (text) => this.tryAsking(text), close: () => this.showLesson(false) });
    this.dressShell();
    this.listen();
    this.connection.connect();
  }

  /** @returns {Actions} */
  makeActions() {
    return {
      markdown: {
        userName: (id) => this.store.userName(id),
        channelName: (id) => this.store.channelName(id),
        roleName: (id) => this.store.roleName(id),
        openChannel: (id) => this.openChannel(id),
        openCommand: (name) => this.openCommand(name),
      },
      isBusy: (messageId, customId) => this.busy.get(messageId)?.has(customId) ?? false,
      componentFailure: (messageId) => this.failures.get(messageId) ?? null,
      press: (message, customId, type, values) => this.press(message, customId, type, values),
      dismiss: (message) => this.dismiss(message),
      forget: (id) => this.store.endWaiting(id),
      messageMenu: (message, anchor, at) => this.messageMenu(message, anchor, at),
      runCommand: async (leaf, options) => {
        await this.store.interact('command', { channel_id: this.store.channelId, command_id: leaf.command.id, options });
        this.list.toNewest();
      },
      say: async (content, files) => {
        await this.connection.request('say', { channel_id: this.store.channelId, content, attachments: files });
      },
    };
  }

  /** Icons and presses of the static shell. */
  dressShell() {
    fill(byId('drawer-open'), icon('menu'));
    fill(byId('drawer-close'), icon('close'));
    fill(byId('lesson-toggle'), icon('book', 18), h('span', {}, 'First lesson'));
    byId('drawer-open').addEventListener('click', () => this.showDrawer(true));
    byId('drawer-close').addEventListener('click', () => this.showDrawer(false));
    byId('scrim').addEventListener('click', () => this.closePanels());
    byId('banner-retry').addEventListener('click', () => this.connection.retryNow());
    byId('lesson-toggle').addEventListener('click', () => this.showLesson(this.shell.dataset.lesson !== 'open'));
    window.addEventListener('keydown', (event) => event.key === 'Escape' && !event.defaultPrevented && this.escape());
    window.setInterval(refreshRelative, 20000);
    window.setInterval(() => this.drawBanner(), 1000);
  }

  listen() {
    this.connection.addEventListener('open', () => this.begin());
    this.connection.addEventListener('closed', (event) => this.lost(/** @type {CustomEvent} */ (event).detail.retryAt));
    this.store.addEventListener('hello', () => this.drawAll());
    this.store.addEventListener('channel', () => this.drawAll());
    this.store.addEventListener('bot', () => this.botChanged());
    this.store.addEventListener('message', (event) => this.messageChanged(/** @type {CustomEvent} */ (event).detail));
    this.store.addEventListener('waiting', (event) => this.waitingChanged(/** @type {CustomEvent} */ (event).detail));
    this.store.addEventListener('modal', (event) => this.modal(/** @type {CustomEvent} */ (event).detail));
  }

  async begin() {
    try {
      await this.store.hello(sessionStorage.getItem('pupil.person'));
      this.connected = true;
    } catch {
      // A remembered person whom this playground does not know.
      sessionStorage.removeItem('pupil.person');
      await this.store.hello(null).then(() => { this.connected = true; }, () => undefined);
    }
    this.drawBanner();
  }

  /** @param {number} retryAt milliseconds */
  lost(retryAt) {
    this.connected = false;
    this.retryAt = retryAt;
    this.busy.clear();
    this.drawBanner();
  }

  drawAll() {
    this.sidebar.draw();
    const channel = this.store.channels.find((known) => known.id === this.store.channelId);
    fill(byId('channel-name'), icon('hash', 20), channel?.name ?? '');
    byId('channel-topic').textContent = channel?.topic ?? '';
    byId('log').setAttribute('aria-label', `Messages in #${channel?.name ?? ''}`);
    document.title = `#${channel?.name ?? ''} · Pupil playground`;
    this.composer.channelChanged();
    this.list.draw();
    this.drawBanner();
  }

  /** One line over the messages while something is not as it should be; the seconds are not read aloud. */
  drawBanner() {
    const state = this.bannerState();
    this.banner.hidden = !state;
    const words = byId('banner-words');
    if (words.textContent !== (state?.words ?? '')) {
      words.textContent = state?.words ?? '';
      fill(byId('banner-icon'), state && icon(state.icon, 18));
      byId('banner-retry').hidden = !state?.again;
    }
    byId('banner-countdown').textContent = state?.countdown ?? '';
  }

  /** @returns {{icon: string, words: string, countdown: string, again: boolean} | null} */
  bannerState() {
    if (!this.connected) {
      if (this.retryAt === 0) return null;
      const seconds = Math.ceil((this.retryAt - Date.now()) / 1000);
      return { icon: 'wifi', words: 'Not connected.', countdown: seconds > 0 ? `Trying again in ${seconds} s.` : 'Trying now…', again: true };
    }
    if (this.store.bot.online) return null;
    return { icon: 'alert', words: `${this.store.botName} is offline. You can write; commands work again when it is back.`, countdown: '', again: false };
  }

  botChanged() {
    this.sidebar.draw();
    this.drawBanner();
    announce(`${this.store.botName} is ${this.store.bot.online ? 'online' : 'offline'}.`);
  }

  /** @param {{kind: string, message: any}} change */
  messageChanged(change) {
    if (change.kind === 'update') this.failures.delete(change.message.id);
    this.list.apply(change);
    // Only a new message changes the count of a channel.
    if (change.kind === 'create' && change.message.channel_id !== this.store.channelId) this.sidebar.draw();
  }

  /** @param {import('./store.js').Waiting} entry */
  waitingChanged(entry) {
    const over = entry.failed || !this.store.waiting.has(entry.id);
    if (entry.component && over) this.release(entry);
    this.list.applyWaiting(entry);
  }

  /**
   * A press got its answer, or failed.
   * @param {import('./store.js').Waiting} entry
   */
  release(entry) {
    const { messageId, customId } = /** @type {{messageId: string, customId: string}} */ (entry.component);
    this.busy.get(messageId)?.delete(customId);
    if (!entry.failed || !this.store.waiting.has(entry.id)) return;
    this.failures.set(messageId, entry.error || FAILED);
    this.store.waiting.delete(entry.id);
    announce(entry.error || FAILED);
  }

  /** @param {any} message @param {string} customId @param {number} type @param {string[]} [values] */
  async press(message, customId, type, values) {
    const pending = this.busy.get(message.id) ?? new Set();
    this.busy.set(message.id, pending.add(customId));
    this.failures.delete(message.id);
    this.list.applyComponent(message.id);
    try {
      await this.store.interact('component', { message_id: message.id, custom_id: customId, component_type: type, ...(values ? { values } : {}) }, { messageId: message.id, customId });
    } catch (error) {
      pending.delete(customId);
      this.failures.set(message.id, /** @type {Error} */ (error).message);
      this.list.applyComponent(message.id);
    }
  }

  /** @param {any} message */
  async dismiss(message) {
    await this.connection.request('dismiss', { message_id: message.id }).catch(() => undefined);
    this.store.dropMessage(message.channel_id, message.id);
    byId('message').focus();
  }

  /** @param {any} message @param {HTMLElement} anchor @param {{x: number, y: number}} [at] */
  messageMenu(message, anchor, at) {
    const apps = this.store.commandsOf(3).map((command) => ({ label: command.name, hint: this.store.botName, icon: icon('spark', 18), run: () => this.runMenu(command, message) }));
    const copy = { label: 'Copy the text', icon: icon('copy', 18), run: () => navigator.clipboard?.writeText(message.content ?? '') };
    openMenu([...apps, copy], { anchor, at, label: 'Message menu' });
  }

  /** @param {any} command @param {any} message */
  async runMenu(command, message) {
    try {
      await this.store.interact('menu', { channel_id: message.channel_id, command_id: command.id, target_id: message.id });
    } catch (error) {
      this.failures.set(message.id, /** @type {Error} */ (error).message);
      this.list.applyComponent(message.id);
    }
  }

  /** @param {any} modal */
  modal(modal) {
    const named = (/** @type {any} */ user) => ({ id: user.id, label: user.global_name ?? user.username });
    openModal(modal, {
      markdown: this.actions.markdown,
      users: this.store.users.map(named),
      channels: this.store.channels.map((channel) => ({ id: channel.id, label: `#${channel.name}` })),
      roles: this.store.roles.map((role) => ({ id: role.id, label: `@${role.name}` })),
      submit: async (components) => { await this.store.interact('modal_submit', { modal_id: modal.modal_id, components }); },
    });
  }

  /** @param {string} id */
  openChannel(id) {
    this.store.openChannel(id);
    this.showDrawer(false);
  }

  /** @param {string} id */
  async actAs(id) {
    await this.store.actAs(id).then(() => sessionStorage.setItem('pupil.person', id), (error) => announce(error.message));
    this.showDrawer(false);
    announce(`You are ${this.store.userName(id)} now.`);
  }

  /** @param {string} name @param {Record<string, string>} [values] */
  openCommand(name, values) {
    if (!this.composer.openCommand(name, values)) announce(`There is no command /${name} for you.`);
  }

  /** @param {string} text */
  tryAsking(text) {
    if (this.isNarrow) this.showLesson(false);
    this.openCommand('ask', { text });
  }

  /** @returns {boolean} whether panels lie over the chat */
  get isNarrow() {
    return window.matchMedia('(max-width: 1060px)').matches;
  }

  /** @param {boolean} open */
  showDrawer(open) {
    const was = this.shell.dataset.drawer === 'open';
    this.shell.dataset.drawer = open ? 'open' : 'closed';
    if (open) byId('drawer-close').focus();
    else if (was) byId('drawer-open').focus();
  }

  /** @param {boolean} open */
  showLesson(open) {
    this.shell.dataset.lesson = open ? 'open' : 'closed';
    byId('lesson').hidden = !open;
    byId('lesson-toggle').setAttribute('aria-expanded', String(open));
    if (open) this.lesson.refresh();
    if (this.isNarrow) /** @type {HTMLElement} */ (open ? byId('lesson').querySelector('button') : byId('lesson-toggle')).focus();
  }

  closePanels() {
    this.showDrawer(false);
    if (this.isNarrow) this.showLesson(false);
  }

  escape() {
    if (this.shell.dataset.drawer === 'open' || (this.isNarrow && this.shell.dataset.lesson === 'open')) this.closePanels();
  }

  /** @param {any} channel @returns {HTMLElement} */
  welcome(channel) {
    const first = channel.id === this.store.channels[0]?.id;
    const ideas = [
      { icon: 'book', title: 'Take the first lesson', text: 'Four steps, about a minute: ask, teach, train, ask again.', run: () => this.showLesson(true) },
      { icon: 'spark', title: 'Ask the bot', text: '/ask gives its answer with confidence and version.', run: () => this.openCommand('ask') },
      { icon: 'check', title: 'Teach it one text', text: '/label counts at once, and you can undo it.', run: () => this.openCommand('label') },
    ];
    return welcomeCard(channel, first ? ideas : [], this.store.list(channel.id).length > 0);
  }
}

new App();
