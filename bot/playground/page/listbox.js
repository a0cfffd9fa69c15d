'use strict';
/**
 * A list of choices steered from elsewhere (a text field or a button keeps the focus and names the active choice).
 * Used by the command picker, option fields, selects and menus. Knows nothing about what a choice means.
 */

import { fill, h, uniqueId } from './dom.js';

/**
 * @typedef {object} Choice
 * @property {any} value
 * @property {string} label
 * @property {string} [description]
 * @property {string} [hint] small text at the right
 * @property {string} [emoji]
 * @property {boolean} [selected]
 */

export class Listbox {
  /**
   * @param {object} settings
   * @param {string} settings.label for screen readers
   * @param {(choice: Choice) => void} settings.onChoose
   * @param {boolean} [settings.multiple]
   */
  constructor({ label, onChoose, multiple = false }) {
    this.id = uniqueId('list');
    this.onChoose = onChoose;
    /** @type {Choice[]} */
    this.choices = [];
    this.index = -1;
    this.element = h('ul', { class: 'listbox', role: 'listbox', id: this.id, 'aria-label': label, 'aria-multiselectable': multiple || null });
    // The field keeps the focus: a press must not take it away before the click arrives.
    this.element.addEventListener('mousedown', (event) => event.preventDefault());
  }

  /**
   * @param {Choice[]} choices
   * @param {number} [index] the active one; -1: none
   */
  show(choices, index = 0) {
    this.choices = choices;
    this.index = Math.min(index, choices.length - 1);
    fill(this.element, choices.map((choice, at) => this.row(choice, at)));
    this.mark();
  }

  /**
   * @param {Choice} choice
   * @param {number} at
   * @returns {HTMLElement}
   */
  row(choice, at) {
    return h(
      'li',
      {
        class: 'choice', role: 'option', id: `${this.id}-${at}`, 'aria-selected': String(Boolean(choice.selected)),
        onclick: () => this.onChoose(choice), onmousemove: () => this.activate(at),
      },
      choice.emoji && h('span', { class: 'choice-emoji', 'aria-hidden': 'true' }, choice.emoji),
      h('span', { class: 'choice-text' },
        h('span', { class: 'choice-label' }, choice.label),
        choice.description && h('span', { class: 'choice-description' }, choice.description)),
      choice.hint && h('span', { class: 'choice-hint' }, choice.hint),
    );
  }

  /** @param {number} at */
  activate(at) {
    if (at === this.index) return;
    this.index = at;
    this.mark();
  }

  /** @param {number} step */
  move(step) {
    const count = this.choices.length;
    if (count > 0) this.activate((this.index + step + count) % count);
  }

  mark() {
    [...this.element.children].forEach((row, at) => row.classList.toggle('active', at === this.index));
    this.element.children[this.index]?.scrollIntoView({ block: 'nearest' });
    this.owner?.setAttribute('aria-activedescendant', this.activeId);
  }

  /** The element that keeps the focus. @param {HTMLElement} owner */
  ownedBy(owner) {
    this.owner = owner;
    owner.setAttribute('aria-controls', this.id);
    owner.setAttribute('aria-haspopup', 'listbox');
  }

  /** @returns {string} */
  get activeId() {
    return this.index >= 0 ? `${this.id}-${this.index}` : '';
  }

  /** @returns {Choice | undefined} */
  get active() {
    return this.choices[this.index];
  }

  /**
   * Arrow keys, Home and End.
   * @param {KeyboardEvent} event
   * @returns {boolean} whether the key was used
   */
  steer(event) {
    if (event.key === 'ArrowDown') this.move(1);
    else if (event.key === 'ArrowUp') this.move(-1);
    else return false;
    event.preventDefault();
    return true;
  }
}
