'use strict';
/**
 * What the page knows: people, channels, commands, messages, and interactions that wait. Changes are announced as events.
 * Knows the socket's operations, nothing about elements.
 */

/**
 * @typedef {object} User
 * @property {string} id
 * @property {string} username
 * @property {string | null} [global_name]
 * @property {string} [colour]
 * @property {boolean} [lead]
 * @property {boolean} [bot]
 */

/**
 * @typedef {object} Waiting an interaction without an answer yet, or one that failed
 * @property {string} id
 * @property {string} command "/label", or the name of a message menu
 * @property {string} channelId
 * @property {string} userId
 * @property {boolean} failed
 * @property {string} [error]
 * @property {{messageId: string, customId: string}} [component] set when it began with a button or select
 */

const BUSY_FLAG = 128;

/** @param {any} message @returns {boolean} whether the bot has deferred and still owes the answer */
export const isThinking = (message) => Boolean((message.flags ?? 0) & BUSY_FLAG);

/** @param {any} message @returns {boolean} */
export const isEphemeral = (message) => Boolean((message.flags ?? 0) & 64);

/** @param {any} message @returns {string | undefined} id of the interaction this message answers */
export const interactionOf = (message) => message.interaction_metadata?.id ?? message.interaction?.id;

/**
 * Events: hello, channel, commands, bot, message (detail {kind, message}), waiting (detail Waiting), modal (detail).
 */
export class Store extends EventTarget {
  /** @param {import('./socket.js').Connection} connection */
  constructor(connection) {
    super();
    this.connection = connection;
    /** @type {User | null} */
    this.me = null;
    /** @type {User[]} */
    this.users = [];
    /** @type {any} */
    this.guild = null;
    /** @type {any[]} */
    this.channels = [];
    /** @type {{id: string, name: string}[]} */
    this.roles = [];
    /** @type {any[]} */
    this.commands = [];
    /** @type {any} */
    this.bot = { id: '', username: 'Pupil', online: false };
    this.channelId = '';
    /** @type {Map<string, any[]>} */
    this.messages = new Map();
    /** @type {Map<string, number>} */
    this.unread = new Map();
    /** @type {Map<string, Waiting>} */
    this.waiting = new Map();
    /** @type {Map<string, {messageId: string, customId: string}>} */
    this.componentOf = new Map();
    /** @type {Set<Promise<any>>} */
    this.inFlight = new Set();
    connection.addEventListener('event', (event) => this.apply(/** @type {CustomEvent} */ (event).detail));
  }

  /** @param {string} name @param {unknown} [detail] */
  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /**
   * Loads everything, as the remembered user where there is one.
   * @param {string | null} userId
   */
  async hello(userId) {
    this.load(userId ? await this.connection.request('act_as', { user_id: userId }) : await this.connection.request('hello'));
  }

  /** @param {any} data */
  load(data) {
    const same = this.me?.id === data.me.id;
    Object.assign(this, { me: data.me, users: data.users, guild: data.guild, channels: data.channels, roles: data.roles ?? [], commands: data.commands, bot: data.bot });
    this.messages = new Map(Object.entries(data.messages));
    this.waiting = new Map([...this.waiting].filter(([, entry]) => same && entry.failed));
    if (!this.channels.some((channel) => channel.id === this.channelId)) this.channelId = this.channels[0]?.id ?? '';
    this.emit('hello');
  }

  /** @param {string} userId */
  async actAs(userId) {
    this.load(await this.connection.request('act_as', { user_id: userId }));
  }

  /** @param {string} channelId */
  openChannel(channelId) {
    if (!this.channels.some((channel) => channel.id === channelId)) return;
    this.channelId = channelId;
    this.unread.delete(channelId);
    this.emit('channel');
  }

  /**
   * Sends an operation that begins an interaction. Its events may overtake the reply that names it, so they are
   * held back until the reply is here.
   * @param {string} op
   * @param {Record<string, unknown>} fields
   * @param {{messageId: string, customId: string}} [component]
   * @returns {Promise<string>} the interaction's id
   */
  async interact(op, fields, component) {
    const reply = this.connection.request(op, fields).then((data) => {
      if (component) this.componentOf.set(data.interaction_id, component);
      return data.interaction_id;
    });
    this.inFlight.add(reply);
    try {
      return await reply;
    } finally {
      this.inFlight.delete(reply);
    }
  }

  /** @param {{type: string, data: any}} event */
  apply({ type, data }) {
    if (type === 'message_create') this.addMessage(data.message);
    else if (type === 'message_update') this.changeMessage(data.message);
    else if (type === 'message_delete') this.dropMessage(data.channel_id, data.id);
    else if (type === 'interaction') Promise.allSettled([...this.inFlight]).then(() => this.applyInteraction(data));
    else if (type === 'modal') this.emit('modal', data);
    else if (type === 'commands') this.applyCommands(data.commands);
    else if (type === 'bot') this.applyBot(data.online);
  }

  /** @param {any[]} commands */
  applyCommands(commands) {
    this.commands = commands;
    this.emit('commands');
  }

  /** @param {boolean} online */
  applyBot(online) {
    this.bot = { ...this.bot, online };
    this.emit('bot');
  }

  /** @param {string} channelId @returns {any[]} */
  list(channelId) {
    const list = this.messages.get(channelId) ?? [];
    this.messages.set(channelId, list);
    return list;
  }

  /** @param {any} message */
  addMessage(message) {
    const list = this.list(message.channel_id);
    if (list.some((known) => known.id === message.id)) return this.changeMessage(message);
    list.push(message);
    this.endWaiting(interactionOf(message));
    if (message.channel_id !== this.channelId && !isEphemeral(message)) {
      this.unread.set(message.channel_id, (this.unread.get(message.channel_id) ?? 0) + 1);
    }
    this.emit('message', { kind: 'create', message });
  }

  /** @param {any} message may hold only the changed fields */
  changeMessage(message) {
    const list = this.list(message.channel_id);
    const index = list.findIndex((known) => known.id === message.id);
    if (index < 0) return this.addMessage(message);
    list[index] = { ...list[index], ...message };
    this.endWaiting(interactionOf(list[index]));
    this.emit('message', { kind: 'update', message: list[index] });
  }

  /** @param {string} channelId @param {string} id */
  dropMessage(channelId, id) {
    const list = this.list(channelId);
    const index = list.findIndex((known) => known.id === id);
    if (index < 0) return;
    const [message] = list.splice(index, 1);
    this.emit('message', { kind: 'delete', message });
  }

  /** @param {any} data */
  applyInteraction(data) {
    const id = data.interaction_id;
    if (this.me && data.user_id && data.user_id !== this.me.id) return;
    if (data.state === 'done') return this.endWaiting(id);
    if (data.state === 'waiting' && this.answered(data.channel_id, id)) return;
    /** @type {Waiting} */
    const entry = {
      id, command: data.command ?? '', channelId: data.channel_id, userId: data.user_id,
      failed: data.state === 'failed', error: data.error, component: this.componentOf.get(id),
    };
    this.waiting.set(id, entry);
    this.emit('waiting', entry);
  }

  /** @param {string} channelId @param {string} id @returns {boolean} */
  answered(channelId, id) {
    return this.list(channelId).some((message) => interactionOf(message) === id);
  }

  /** Forgets a waiting or failed interaction. @param {string | undefined} id */
  endWaiting(id) {
    const entry = id === undefined ? undefined : this.waiting.get(id);
    if (!entry) return;
    this.waiting.delete(entry.id);
    this.componentOf.delete(entry.id);
    this.emit('waiting', entry);
  }

  /**
   * Older messages of a channel, put in front.
   * @param {string} channelId
   * @returns {Promise<number>} how many came
   */
  async loadOlder(channelId) {
    const list = this.list(channelId);
    const data = await this.connection.request('history', { channel_id: channelId, before: list[0]?.id ?? null });
    const known = new Set(list.map((message) => message.id));
    const older = (Array.isArray(data) ? data : data.messages ?? []).filter((/** @type {any} */ message) => !known.has(message.id));
    list.unshift(...older);
    return older.length;
  }

  /** @param {string} id @returns {User | undefined} */
  user(id) {
    return id === this.bot.id ? { ...this.bot, bot: true } : this.users.find((user) => user.id === id);
  }

  /** @param {string} id @returns {string} */
  userName(id) {
    const user = this.user(id);
    return user?.global_name ?? user?.username ?? 'someone';
  }

  /** @returns {string} */
  get botName() {
    return this.bot.global_name ?? this.bot.username;
  }

  /** @param {string} id @returns {string} */
  channelName(id) {
    return this.channels.find((channel) => channel.id === id)?.name ?? 'unknown-channel';
  }

  /** @param {string} id @returns {string} */
  roleName(id) {
    return this.roles.find((role) => role.id === id)?.name ?? 'unknown-role';
  }

  /**
   * Commands of one kind; the server sends only those that this person may use. 1: slash, 3: message menu.
   * @param {number} type
   * @returns {any[]}
   */
  commandsOf(type) {
    return this.commands.filter((command) => (command.type ?? 1) === type);
  }
}
