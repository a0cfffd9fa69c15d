'use strict';
/** One option of a slash command as a field: typed text, a list to choose from, or a file. */

import { coerce, OPTION } from './commands.js';
import { fill, h, uniqueId } from './dom.js';
import { icon } from './icons.js';
import { Listbox } from './listbox.js';
import { upload } from './uploads.js';

const DEBOUNCE = 180;

/**
 * @typedef {object} FieldHost what a field needs from the form around it
 * @property {(element: HTMLElement | null) => void} suggest shows or hides a list above the form
 * @property {(field: OptionField | FileField) => void} focused
 * @property {(option: any, typed: string) => Promise<{name: string, value: any}[]>} autocomplete
 * @property {(option: any) => {name: string, value: any}[] | null} fixedChoices null: free text
 * @property {() => void} submit
 * @property {() => void} cancel
 * @property {() => void} changed
 */

/**
 * @param {any} option
 * @param {string} id of the control
 * @returns {HTMLElement}
 */
function fieldLabel(option, id) {
  return h('label', { class: 'option-name', for: id }, option.name, option.required && h('span', { class: 'required', 'aria-hidden': 'true' }, '*'));
}

export class OptionField {
  /**
   * @param {any} option
   * @param {FieldHost} host
   * @param {string} text what it begins with
   */
  constructor(option, host, text) {
    this.option = option;
    this.host = host;
    /** @type {{name: string, value: any}[]} choices seen so far: what a typed name means */
    this.seen = [];
    this.choices = host.fixedChoices(option);
    this.listed = Boolean(this.choices || option.autocomplete);
    this.timer = 0;
    this.round = 0;
    const id = uniqueId('option');
    this.input = /** @type {HTMLTextAreaElement} */ (h('textarea', {
      id, rows: '1', class: 'option-input', autocomplete: 'off', spellcheck: this.listed ? 'false' : null, 'aria-required': String(Boolean(option.required)),
      'aria-description': option.description, placeholder: option.required ? '' : 'optional', name: option.name, role: this.listed ? 'combobox' : null, 'aria-expanded': this.listed ? 'false' : null,
      'aria-autocomplete': this.listed ? 'list' : null, value: text,
      oninput: () => this.typed(), onfocus: () => this.entered(), onblur: () => this.left(), onkeydown: (/** @type {KeyboardEvent} */ event) => this.key(event),
    }));
    this.list = new Listbox({ label: `Choices for ${option.name}`, onChoose: (choice) => this.choose(choice) });
    if (this.listed) this.list.ownedBy(this.input);
    this.element = h('div', { class: `option${this.listed || this.isNumber ? ' short' : ''}`, 'data-option': option.name }, fieldLabel(option, id), this.input);
  }

  /** @returns {boolean} */
  get isNumber() {
    return this.option.type === OPTION.integer || this.option.type === OPTION.number;
  }

  focus() {
    this.input.focus();
    this.input.setSelectionRange(this.input.value.length, this.input.value.length);
    this.grow();
  }

  /** @returns {boolean} */
  get isOpen() {
    return this.input.getAttribute('aria-expanded') === 'true';
  }

  /** As high as its text, up to the limit of the style sheet. */
  grow() {
    this.input.style.height = 'auto';
    this.input.style.height = `${this.input.scrollHeight}px`;
  }

  entered() {
    this.host.focused(this);
    if (this.listed) this.refresh();
  }

  left() {
    window.clearTimeout(this.timer);
    this.hide();
  }

  typed() {
    this.grow();
    this.complain(null);
    this.host.changed();
    if (!this.listed) return;
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.refresh(), this.choices ? 0 : DEBOUNCE);
  }

  /** Asks for choices again; an answer to an older question is dropped. */
  async refresh() {
    this.round += 1;
    const { round } = this;
    const found = this.choices ? this.filtered() : await this.host.autocomplete(this.option, this.input.value).catch(() => null);
    if (round !== this.round || document.activeElement !== this.input) return;
    if (!found) return this.showNote('The choices could not be loaded. You can still type.');
    this.seen.push(...found);
    if (found.length === 0) return this.showNote(this.choices ? 'Nothing in the list fits.' : 'No suggestions. You can still type.');
    this.list.show(found.map((choice) => ({ value: choice.value, label: choice.name })), this.input.value ? 0 : -1);
    this.open(this.list.element);
  }

  /** @returns {{name: string, value: any}[]} */
  filtered() {
    const wanted = this.input.value.trim().toLowerCase();
    const all = this.choices ?? [];
    const exact = all.some((choice) => choice.name.toLowerCase() === wanted);
    return exact ? all : all.filter((choice) => choice.name.toLowerCase().includes(wanted));
  }

  /** @param {string} sentence */
  showNote(sentence) {
    this.list.show([]);
    this.host.suggest(h('p', { class: 'suggest-note' }, sentence));
    this.input.setAttribute('aria-expanded', 'false');
  }

  /** @param {HTMLElement} element */
  open(element) {
    this.host.suggest(element);
    this.input.setAttribute('aria-expanded', 'true');
    this.list.mark();
  }

  hide() {
    this.round += 1;
    this.host.suggest(null);
    if (this.listed) this.input.setAttribute('aria-expanded', 'false');
    this.input.removeAttribute('aria-activedescendant');
  }

  /** @param {import('./listbox.js').Choice} choice */
  choose(choice) {
    this.input.value = choice.label;
    this.picked = { name: choice.label, value: choice.value };
    this.complain(null);
    this.hide();
    this.grow();
    this.host.changed();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.isComposing) return;
    if (this.isOpen && this.list.steer(event)) return;
    const active = this.isOpen ? this.list.active : undefined;
    if (active && (event.key === 'Enter' || (event.key === 'Tab' && !event.shiftKey && this.input.value))) {
      this.choose(active);
      if (event.key === 'Enter') event.preventDefault();
    } else if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      this.host.submit();
    } else if (event.key === 'Escape') {
      event.preventDefault();
      if (this.isOpen) this.hide();
      else this.host.cancel();
    } else if (event.key === 'Backspace' && this.input.value === '' && !event.repeat) {
      event.preventDefault();
      this.host.cancel();
    }
  }

  /**
   * The value to send: what was picked, or the choice whose name was typed, or the text.
   * @returns {{value?: unknown, error?: string}}
   */
  read() {
    const text = this.input.value;
    const known = [this.picked, ...this.seen].find((choice) => choice && choice.name === text);
    if (known) return { value: known.value };
    const listed = (this.choices ?? []).find((choice) => choice.name.toLowerCase() === text.trim().toLowerCase());
    if (listed) return { value: listed.value };
    if (this.choices && text.trim()) return { error: `Choose “${this.option.name}” from the list.` };
    return coerce(this.option, text);
  }

  /** @param {string | null} error */
  complain(error) {
    this.element.classList.toggle('invalid', Boolean(error));
    this.input.setAttribute('aria-invalid', String(Boolean(error)));
  }
}

export class FileField {
  /**
   * @param {any} option
   * @param {FieldHost} host
   */
  constructor(option, host) {
    this.option = option;
    this.host = host;
    /** @type {import('./uploads.js').Upload | null} */
    this.file = null;
    this.problem = '';
    const id = uniqueId('option');
    this.input = /** @type {HTMLInputElement} */ (h('input', { id, type: 'file', class: 'sr-only', name: option.name, onchange: () => this.take(this.input.files?.[0]), onfocus: () => host.focused(this), onkeydown: (/** @type {KeyboardEvent} */ event) => this.key(event) }));
    this.text = h('span', { class: 'option-file' });
    this.element = h('div', { class: 'option file', 'data-option': option.name }, fieldLabel(option, id), this.input, h('label', { class: 'file-drop', for: id }, this.text));
    this.show('Choose or drop a file');
  }

  /** @param {string} words */
  show(words) {
    fill(this.text, icon('file', 16), words);
  }

  focus() {
    this.input.focus();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key === 'Escape') this.host.cancel();
  }

  /** @param {File | undefined} file */
  async take(file) {
    if (!file) return;
    this.show(`Sending ${file.name}…`);
    try {
      this.file = await upload(file);
      this.problem = '';
      this.show(this.file.filename);
    } catch (error) {
      this.file = null;
      this.problem = /** @type {Error} */ (error).message;
      this.show('Choose or drop a file');
    }
    this.complain(this.problem || null);
    this.host.changed();
  }

  /** @returns {{value?: unknown, error?: string}} */
  read() {
    if (this.file) return { value: this.file.id };
    if (this.problem) return { error: this.problem };
    return this.option.required ? { error: `“${this.option.name}” needs a file.` } : {};
  }

  /** @param {string | null} error */
  complain(error) {
    this.element.classList.toggle('invalid', Boolean(error));
  }
}
