'use strict';
/**
 * The first lesson beside the chat: four steps, measured on questions that are never taught. The server does the work;
 * this panel asks for its state, starts a step and looks again every second while one runs.
 */

import { announce, byId, fill, h } from './dom.js';
import { icon } from './icons.js';
import { accuracyChart, sampleCard, stepCard } from './lesson_view.js';

const POLL = 1000;
const ADDRESS = '/api/v1/lesson';
const FIRST_SAMPLES = 4;

/**
 * @typedef {object} LessonActions
 * @property {(text: string) => void} ask puts "/ask text: …" into the composer
 * @property {() => void} close
 */

/**
 * @param {string} address
 * @param {RequestInit} [settings]
 * @returns {Promise<any>} rejects with one sentence
 */
async function call(address, settings) {
  let response;
  try {
    response = await fetch(address, settings);
  } catch {
    throw new Error('The bot cannot be reached at the moment.');
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 404 && !answer.error) throw new Error('The lesson needs the whole bot: start it with “make run”.');
  throw new Error(answer.error ?? `The lesson answered with status ${response.status}.`);
}

export class Lesson {
  /** @param {LessonActions} actions */
  constructor(actions) {
    this.actions = actions;
    this.root = byId('lesson');
    /** @type {any} */
    this.state = null;
    this.error = '';
    /** The step this page has started and that has not answered yet. */
    this.started = '';
    this.timer = 0;
    this.allSamples = false;
    this.drawn = '';
    this.body = h('div', { class: 'lesson-body' });
    fill(this.root, this.head(), this.body);
  }

  /** @returns {HTMLElement} */
  head() {
    return h(
      'div', { class: 'lesson-head' }, icon('book', 22), h('h2', {}, 'First lesson'),
      h('button', { class: 'icon-button', type: 'button', 'aria-label': 'Close the lesson', onclick: () => this.actions.close() }, icon('close')),
    );
  }

  /** @returns {string} the running step's id, or "" */
  get running() {
    return this.started || this.state?.running || '';
  }

  /** Loads the state; keeps looking each second while a step runs. */
  async refresh() {
    window.clearTimeout(this.timer);
    try {
      this.take(await call(ADDRESS));
    } catch (error) {
      this.error = /** @type {Error} */ (error).message;
    }
    this.draw();
    if (this.running) this.timer = window.setTimeout(() => this.refresh(), POLL);
  }

  /** @param {any} state */
  take(state) {
    const before = this.state;
    this.state = state;
    this.error = '';
    for (const step of state.steps) {
      const old = before?.steps.find((/** @type {any} */ known) => known.id === step.id);
      if (old && old.state !== 'done' && step.state === 'done') announce(`${step.title}: done. ${step.asked ? `${step.correct} of ${step.asked} right.` : ''}`);
    }
  }

  /** @param {string} id */
  async start(id) {
    if (this.running) return;
    this.started = id;
    this.error = '';
    this.draw();
    this.timer = window.setTimeout(() => this.refresh(), POLL);
    try {
      this.take(await call(`${ADDRESS}/${id}`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{}' }));
      this.started = '';
    } catch (error) {
      window.clearTimeout(this.timer); // another look would clear the error before it is read
      this.started = '';
      this.error = /** @type {Error} */ (error).message;
      this.draw();
      return;
    }
    await this.refresh();
  }

  /** Draws what changed; a press or a scroll in between is not disturbed when nothing did. */
  draw() {
    const now = JSON.stringify([this.state, this.error, this.started, this.allSamples]);
    if (now === this.drawn) return;
    this.drawn = now;
    const focused = this.body.contains(document.activeElement) ? document.activeElement?.getAttribute('data-step') : null;
    const { scrollTop } = this.body;
    fill(this.body, this.trouble(), this.state ? this.content() : this.loading());
    this.body.scrollTop = scrollTop;
    if (focused) this.restoreFocus(focused);
  }

  /** @param {string} step */
  restoreFocus(step) {
    const next = this.body.querySelector(`[data-step="${CSS.escape(step)}"]`) ?? this.body.querySelector('[data-step]');
    /** @type {HTMLElement | null} */ (next)?.focus({ preventScroll: true });
  }

  /** @returns {HTMLElement | null} */
  trouble() {
    if (!this.error) return null;
    const again = h('button', { class: 'text-button', type: 'button', onclick: () => this.refresh() }, 'Try again');
    return h('p', { class: 'lesson-error', role: 'alert' }, icon('alert', 18), h('span', {}, this.error, ' ', again));
  }

  /** @returns {HTMLElement | null} */
  loading() {
    return this.error ? null : h('p', { class: 'quiet' }, 'Opening the lesson…');
  }

  /** @returns {(HTMLElement | null)[]} */
  content() {
    const { state } = this;
    const steps = state.steps.map((/** @type {any} */ step, /** @type {number} */ at) => stepCard(step, at, { running: this.running, locked: Boolean(this.running), start: (id) => this.start(id), kept: state.kept }));
    return [this.intro(), accuracyChart(state), h('ol', { class: 'steps' }, steps), this.ending(), this.tries(), this.samples()];
  }

  /** @returns {HTMLElement} */
  intro() {
    const { state } = this;
    return h(
      'div', { class: 'lesson-intro' },
      h('p', {}, 'Teach the bot to sort the mail of a small software team. ', h('b', {}, `${state.kept} questions`), ' are kept aside and never taught: every step is measured on them.'),
      h('ul', { class: 'label-list', 'aria-label': 'Labels of the lesson' }, state.labels.map((/** @type {string} */ label) => h('li', {}, label))),
    );
  }

  /** @returns {HTMLElement | null} */
  ending() {
    const { steps } = this.state;
    if (!steps.every((/** @type {any} */ step) => step.state === 'done')) return null;
    const gain = Math.round((steps.at(-1).accuracy - steps[0].accuracy) * 100);
    const words = gain > 0 ? `From label names to a taught bot: ${gain} points better on questions it had never seen.` : 'That was the whole loop: ask, teach, train, measure.';
    return h('p', { class: 'lesson-end' }, icon('spark', 18), h('span', {}, words, ' Try it with your own texts: /label teaches, /ask asks.'));
  }

  /** @returns {HTMLElement | null} */
  tries() {
    if (this.state.samples.length === 0) return null;
    const chips = this.state.samples.slice(0, 3).map((/** @type {any} */ sample) => h(
      'button', { class: 'try', type: 'button', title: sample.text, onclick: () => this.actions.ask(sample.text) },
      h('span', { class: 'try-word' }, 'Try:'), h('span', { class: 'try-text' }, sample.text),
    ));
    return h('section', { class: 'tries', 'aria-label': 'Try one yourself' }, h('h3', {}, 'Try one yourself'), chips);
  }

  /** @returns {HTMLElement | null} */
  samples() {
    const { samples, steps } = this.state;
    const answered = samples.filter((/** @type {any} */ sample) => Object.keys(sample.answers ?? {}).length > 0);
    if (answered.length === 0) return null;
    const shown = this.allSamples ? answered : answered.slice(0, FIRST_SAMPLES);
    const more = answered.length > shown.length && h('button', { class: 'text-button', type: 'button', onclick: () => this.showAll() }, `Show all ${answered.length}`);
    return h('section', { class: 'samples' }, h('h3', {}, 'What it answered'), shown.map((/** @type {any} */ sample) => sampleCard(sample, steps)), more);
  }

  showAll() {
    this.allSamples = true;
    this.draw();
  }
}
