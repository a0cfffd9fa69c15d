'use strict';
/** Parts of the lesson panel as elements: chart, steps, verdict, sample questions. Knows the lesson's JSON only. */

import { h } from './dom.js';
import { icon } from './icons.js';
import { duration } from './time.js';

/** Short names of the measured steps, under their columns. */
const SHORT = /** @type {Record<string, string>} */ ({ names: 'Names only', teach: 'Taught', train: 'Trained', ask: 'Asked again' });

const BUTTON = /** @type {Record<string, (kept: number) => string>} */ ({
  names: (kept) => `Ask the ${kept} questions`, teach: () => 'Load the lesson', train: () => 'Train', ask: (kept) => `Ask the ${kept} again`,
});

const BUSY = /** @type {Record<string, string>} */ ({ names: 'Asking…', teach: 'Teaching…', train: 'Training…', ask: 'Asking…' });

/** @param {number} share @returns {string} */
const percent = (share) => `${Math.round(share * 100)} %`;

/**
 * "43 of 60 right · 72 %".
 * @param {any} step
 * @returns {string}
 */
export function scoreWords(step) {
  return `${step.correct} of ${step.asked} right · ${percent(step.accuracy)}`;
}

/**
 * Columns side by side, with a line for guessing.
 * @param {any} state
 * @returns {HTMLElement}
 */
export function accuracyChart(state) {
  const measured = state.steps.filter((/** @type {any} */ step) => step.id !== 'train');
  const columns = measured.map((/** @type {any} */ step, /** @type {number} */ at) => column(step, measured[at - 1]));
  const guess = h('span', { class: 'guess' }, h('span', {}, 'guessing'));
  guess.style.setProperty('--share', String(1 / Math.max(1, state.labels.length)));
  return h('figure', { class: 'chart' }, h('figcaption', {}, 'Right answers on the kept questions'), h('div', { class: 'columns' }, guess, columns));
}

/**
 * @param {any} step
 * @param {any | undefined} before the measured step before it
 * @returns {HTMLElement}
 */
function column(step, before) {
  const known = step.accuracy !== null && step.accuracy !== undefined;
  const bar = h('span', { class: `bar bar-${step.id}` });
  bar.style.setProperty('--share', String(known ? step.accuracy : 0));
  const points = known && before?.accuracy !== null && before?.accuracy !== undefined ? Math.round((step.accuracy - before.accuracy) * 100) : null;
  const change = points === null ? null : h('span', { class: 'change' }, points > 0 ? `+${points} points` : points < 0 ? `−${-points} points` : 'the same');
  const words = known ? `${SHORT[step.id]}: ${scoreWords(step)}` : `${SHORT[step.id]}: not asked yet`;
  return h(
    'div', { class: `column${known ? '' : ' empty'}`, role: 'img', 'aria-label': words },
    h('div', { class: 'plot' }, h('span', { class: 'column-number' }, known ? percent(step.accuracy) : '–'), bar),
    h('span', { class: 'column-name' }, SHORT[step.id] ?? step.title), known ? h('span', { class: 'column-count' }, `${step.correct} of ${step.asked}`) : h('span', { class: 'column-count' }, 'not yet'), change,
  );
}

/**
 * @param {any} step
 * @param {number} at
 * @param {{running: string, locked: boolean, start: (id: string) => void, kept: number}} lesson
 * @returns {HTMLElement}
 */
export function stepCard(step, at, lesson) {
  const isRunning = lesson.running === step.id || step.state === 'running';
  const state = isRunning ? 'running' : step.state;
  const badge = state === 'done' ? icon('check', 16) : state === 'locked' ? icon('lock', 14) : String(at + 1);
  return h(
    'li', { class: `step ${state}`, 'aria-current': state === 'ready' || isRunning ? 'step' : null },
    h('span', { class: 'step-badge', 'aria-hidden': 'true' }, badge),
    h('div', { class: 'step-body' },
      h('h3', {}, h('span', { class: 'sr-only' }, `Step ${at + 1}, ${state}: `), step.title),
      step.note && h('p', { class: 'step-note' }, step.note),
      step.accuracy !== null && step.accuracy !== undefined && h('p', { class: 'step-score' }, scoreWords(step), step.version && h('span', { class: 'version' }, step.version)),
      isRunning && progressLine(step),
      step.verdict && verdictCard(step.verdict),
      state === 'ready' && stepButton(step, lesson)),
  );
}

/** @param {any} step @param {{locked: boolean, start: (id: string) => void, kept: number}} lesson @returns {HTMLElement} */
function stepButton(step, lesson) {
  const words = BUTTON[step.id]?.(lesson.kept) ?? step.title;
  return h('button', { class: 'button primary', type: 'button', 'data-step': step.id, disabled: lesson.locked, onclick: () => lesson.start(step.id) }, words);
}

/** @param {any} step @returns {HTMLElement} */
function progressLine(step) {
  const { fraction, phase, eta_seconds: eta } = step.progress ?? {};
  const known = typeof fraction === 'number';
  const value = known ? Math.round(fraction * 100) : null;
  const bar = h('div', { class: `progress${known ? '' : ' unknown'}`, role: 'progressbar', 'aria-label': step.title, 'aria-valuemin': '0', 'aria-valuemax': '100', 'aria-valuenow': value === null ? null : String(value) }, h('span'));
  /** @type {HTMLElement} */ (bar.firstElementChild).style.setProperty('--share', String(known ? fraction : 1));
  const words = [phase ? `${phase[0].toUpperCase()}${phase.slice(1)}` : BUSY[step.id] ?? 'Working…', known ? `${value} %` : '', typeof eta === 'number' && eta > 0 ? `${duration(eta)} left` : ''];
  return h('div', { class: 'progress-line', 'data-step': step.id, tabindex: '-1' }, bar, h('span', {}, words.filter(Boolean).join(' · ')));
}

/**
 * Both endings are good ones, and say why.
 * @param {{promote: boolean, reason: string}} verdict
 * @returns {HTMLElement}
 */
function verdictCard(verdict) {
  const title = verdict.promote ? 'The new version is live' : 'The present version was kept';
  const explanation = verdict.promote
    ? 'It was measured against the version before, on the same questions, and swapped in while the bot kept answering.'
    : 'That is a good ending, too: the gate lets a new version answer only where it is measurably better. What you taught counts either way, because labels act at once.';
  return h(
    'div', { class: `verdict ${verdict.promote ? 'promoted' : 'kept'}` },
    h('p', { class: 'verdict-title' }, icon(verdict.promote ? 'swap' : 'scale', 18), title),
    h('p', { class: 'verdict-reason' }, verdict.reason), h('p', { class: 'quiet' }, explanation),
  );
}

/**
 * One kept question with each step's answer, marked by sign, word and colour.
 * @param {any} sample
 * @param {any[]} steps
 * @returns {HTMLElement}
 */
export function sampleCard(sample, steps) {
  const answers = steps.filter((step) => sample.answers[step.id] !== undefined).map((step) => {
    const answer = sample.answers[step.id];
    const right = answer === sample.label;
    return h(
      'li', { class: right ? 'right' : 'wrong' },
      h('span', { class: 'answer-step' }, SHORT[step.id] ?? step.id), h('span', { class: 'answer-label' }, answer ?? 'not sure'),
      h('span', { class: 'answer-mark' }, icon(right ? 'check' : 'cross', 14), right ? 'right' : 'wrong'),
    );
  });
  return h('article', { class: 'sample' }, h('p', { class: 'sample-text' }, sample.text), h('p', { class: 'sample-label' }, 'Belongs to ', h('b', {}, sample.label)), h('ul', {}, answers));
}
