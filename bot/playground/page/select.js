'use strict';
/** A select box of our own: a button that opens a list, for one or several values. Used in messages and in modals. */

import { fill, h } from './dom.js';
import { icon } from './icons.js';
import { Listbox } from './listbox.js';
import { openPopup } from './popup.js';

/**
 * @typedef {object} SelectSettings
 * @property {import('./listbox.js').Choice[]} choices
 * @property {string} label for screen readers
 * @property {string} [placeholder]
 * @property {number} [min]
 * @property {number} [max]
 * @property {boolean} [disabled]
 * @property {string} [customId]
 * @property {(values: string[]) => void} onChange once per opening, after the choice is made
 */

export class SelectBox {
  /** @param {SelectSettings} settings */
  constructor(settings) {
    this.settings = settings;
    this.multiple = (settings.max ?? 1) > 1;
    /** @type {Set<string>} */
    this.chosen = new Set(settings.choices.filter((choice) => choice.selected).map((choice) => choice.value));
    this.text = h('span', { class: 'select-text' });
    this.button = h(
      'button',
      {
        class: 'select', type: 'button', 'aria-haspopup': 'listbox', 'aria-expanded': 'false', 'aria-label': settings.label,
        disabled: settings.disabled, 'data-custom-id': settings.customId,
        onclick: () => this.toggle(), onkeydown: (/** @type {KeyboardEvent} */ event) => this.key(event),
      },
      this.text, icon('chevron', 18),
    );
    this.list = new Listbox({ label: settings.label, multiple: this.multiple, onChoose: (choice) => this.choose(choice) });
    this.list.ownedBy(this.button);
    /** @type {(() => void) | null} */
    this.close = null;
    this.showText();
  }

  /** @returns {string[]} */
  get values() {
    return this.settings.choices.filter((choice) => this.chosen.has(choice.value)).map((choice) => choice.value);
  }

  showText() {
    const labels = this.settings.choices.filter((choice) => this.chosen.has(choice.value)).map((choice) => choice.label);
    this.text.classList.toggle('empty', labels.length === 0);
    fill(this.text, labels.join(', ') || this.settings.placeholder || 'Choose');
    this.button.setAttribute('aria-label', `${this.settings.label}: ${labels.join(', ') || 'nothing chosen'}`);
  }

  toggle() {
    if (this.close) return this.close();
    const before = this.values.join('\n');
    this.refresh(Math.max(0, this.settings.choices.findIndex((choice) => this.chosen.has(choice.value))));
    this.button.setAttribute('aria-expanded', 'true');
    this.close = openPopup(this.list.element, { anchor: this.button, width: this.button.offsetWidth, onClose: () => this.closed(before) });
    this.list.mark();
  }

  /** @param {string} before */
  closed(before) {
    this.close = null;
    this.button.setAttribute('aria-expanded', 'false');
    const enough = this.chosen.size >= (this.settings.min ?? 1);
    if (this.values.join('\n') !== before && enough) this.settings.onChange(this.values);
  }

  /** @param {number} active */
  refresh(active) {
    this.list.show(this.settings.choices.map((choice) => ({ ...choice, selected: this.chosen.has(choice.value) })), active);
  }

  /** @param {import('./listbox.js').Choice} choice */
  choose(choice) {
    if (this.multiple) this.flip(choice.value);
    else this.chosen = new Set([choice.value]);
    this.showText();
    if (this.multiple) this.refresh(this.list.index);
    else this.close?.();
  }

  /** @param {string} value */
  flip(value) {
    if (this.chosen.delete(value)) return;
    if (this.chosen.size < (this.settings.max ?? 1)) this.chosen.add(value);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (!this.close) {
      if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
        event.preventDefault();
        this.toggle();
      }
      return;
    }
    if (this.list.steer(event)) return;
    if (event.key === 'Tab') this.close();
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    if (this.list.active) this.choose(this.list.active);
  }
}
