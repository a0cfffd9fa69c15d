'use strict';
/**
 * The page's connection to the playground: numbered requests, events, and reconnecting by itself with back-off.
 * Knows the frame format only; what an operation or an event means is the store's business.
 */

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15000;
const REQUEST_LIMIT = 15000;

/**
 * @typedef {{resolve: (data: any) => void, reject: (error: Error) => void, timer: number}} Waiter
 */

/**
 * Events: "open", "closed" (detail: {retryAt}), "event" (detail: {type, data}).
 */
export class Connection extends EventTarget {
  /** @param {string} url */
  constructor(url) {
    super();
    this.url = url;
    this.number = 0;
    this.failures = 0;
    this.retryTimer = 0;
    /** @type {WebSocket | null} */
    this.socket = null;
    /** @type {Map<number, Waiter>} */
    this.waiters = new Map();
    window.addEventListener('online', () => this.retryNow());
  }

  /** Opens the socket; later calls while one is open do nothing. */
  connect() {
    if (this.socket && this.socket.readyState <= WebSocket.OPEN) return;
    const socket = new WebSocket(this.url);
    this.socket = socket;
    socket.addEventListener('open', () => {
      this.failures = 0;
      this.dispatchEvent(new Event('open'));
    });
    socket.addEventListener('message', (event) => this.receive(JSON.parse(event.data)));
    socket.addEventListener('close', () => this.lost());
  }

  /** Does not wait for the back-off. */
  retryNow() {
    window.clearTimeout(this.retryTimer);
    this.connect();
  }

  /**
   * Sends one operation.
   * @param {string} op
   * @param {Record<string, unknown>} [fields]
   * @returns {Promise<any>} the reply's data; rejects with the server's sentence
   */
  request(op, fields = {}) {
    const socket = this.socket;
    if (!socket || socket.readyState !== WebSocket.OPEN) {
      return Promise.reject(new Error('Not connected to the playground at the moment. It tries again by itself.'));
    }
    this.number += 1;
    const n = this.number;
    return new Promise((resolve, reject) => {
      const timer = window.setTimeout(() => this.settle(n, { ok: false, error: 'The playground did not answer in time.' }), REQUEST_LIMIT);
      this.waiters.set(n, { resolve, reject, timer });
      socket.send(JSON.stringify({ op, n, ...fields }));
    });
  }

  /** @param {any} frame */
  receive(frame) {
    if (frame.op === 'reply') this.settle(frame.n, frame);
    else if (frame.op === 'event') this.dispatchEvent(new CustomEvent('event', { detail: { type: frame.type, data: frame.data } }));
  }

  /**
   * @param {number} n
   * @param {{ok: boolean, data?: any, error?: string}} reply
   */
  settle(n, reply) {
    const waiter = this.waiters.get(n);
    if (!waiter) return;
    this.waiters.delete(n);
    window.clearTimeout(waiter.timer);
    if (reply.ok) waiter.resolve(reply.data ?? {});
    else waiter.reject(new Error(reply.error ?? 'The playground refused this.'));
  }

  /** Fails everybody who waits and plans the next attempt: 0.5 s, 1 s, 2 s … 15 s, with some jitter. */
  lost() {
    for (const n of [...this.waiters.keys()]) this.settle(n, { ok: false, error: 'The connection was lost.' });
    const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.failures) * (0.8 + 0.4 * Math.random());
    this.failures += 1;
    this.retryTimer = window.setTimeout(() => this.connect(), wait);
    this.dispatchEvent(new CustomEvent('closed', { detail: { retryAt: Date.now() + wait } }));
  }
}
