'use strict';
/** A chosen slash command with its option fields, in the place of the message box. */

import { OPTION, toOptions } from './commands.js';
import { fill, h, uniqueId } from './dom.js';
import { icon } from './icons.js';
import { FileField, OptionField } from './option_field.js';

/**
 * @typedef {object} FormHost
 * @property {import('./store.js').Store} store
 * @property {(element: HTMLElement | null) => void} suggest
 * @property {(leaf: import('./commands.js').Leaf, options: any[]) => Promise<void>} run rejects with the server's sentence
 * @property {() => void} close back to the message box
 */

export class CommandForm {
  /**
   * @param {import('./commands.js').Leaf} leaf
   * @param {Record<string, string>} values
   * @param {FormHost} host
   */
  constructor(leaf, values, host) {
    this.leaf = leaf;
    this.host = host;
    this.sending = false;
    /** @type {(OptionField | FileField)[]} */
    this.fields = [];
    this.hint = h('p', { class: 'form-hint', id: uniqueId('hint') }, leaf.description);
    this.error = h('p', { class: 'form-error', role: 'alert' });
    this.fieldRow = h('div', { class: 'options' });
    this.extras = h('div', { class: 'extras' });
    this.sendButton = h('button', { class: 'send', type: 'submit', 'aria-label': `Run /${leaf.name}` }, icon('send'));
    this.element = h(
      'form', { class: 'command-form', 'aria-label': `Command /${leaf.name}`, novalidate: true, onsubmit: (/** @type {Event} */ event) => this.submitted(event) },
      h('div', { class: 'form-head' }, h('span', { class: 'command-pill' }, `/${leaf.name}`), this.hint, h('button', { class: 'icon-button', type: 'button', 'aria-label': 'Close the command', onclick: () => host.close() }, icon('close', 18))),
      h('div', { class: 'form-body' }, h('div', { class: 'form-fields' }, this.fieldRow, this.extras), this.sendButton),
      this.error,
    );
    for (const option of leaf.options) if (option.required || values[option.name] !== undefined) this.add(option, values[option.name] ?? '');
    this.drawExtras();
  }

  /** @param {any} option @param {string} text @returns {OptionField | FileField} */
  add(option, text) {
    const host = this.fieldHost();
    const field = option.type === OPTION.attachment ? new FileField(option, host) : new OptionField(option, host, text);
    this.fields.push(field);
    this.fieldRow.append(field.element);
    return field;
  }

  /** @returns {import('./option_field.js').FieldHost} */
  fieldHost() {
    return {
      suggest: this.host.suggest,
      focused: (field) => fill(this.hint, field.option.description || this.leaf.description),
      autocomplete: (option, typed) => this.autocomplete(option, typed),
      fixedChoices: (option) => this.fixedChoices(option),
      submit: () => this.submit(),
      cancel: () => this.host.close(),
      changed: () => fill(this.error),
    };
  }

  /** Buttons for the optional options that are not open yet. */
  drawExtras() {
    const open = new Set(this.fields.map((field) => field.option.name));
    const rest = this.leaf.options.filter((option) => !open.has(option.name));
    fill(this.extras, rest.map((option) => h('button', { class: 'extra', type: 'button', title: option.description, onclick: () => this.addExtra(option) }, icon('plus', 14), option.name)));
  }

  /** @param {any} option */
  addExtra(option) {
    const field = this.add(option, '');
    this.drawExtras();
    field.focus();
  }

  /** @param {any} option @returns {{name: string, value: any}[] | null} */
  fixedChoices(option) {
    const { store } = this.host;
    if (option.choices?.length) return option.choices;
    if (option.type === OPTION.boolean) return [{ name: 'True', value: true }, { name: 'False', value: false }];
    if (option.type === OPTION.user || option.type === OPTION.mentionable) return store.users.map((user) => ({ name: user.global_name ?? user.username, value: user.id }));
    if (option.type === OPTION.channel) return store.channels.map((channel) => ({ name: `#${channel.name}`, value: channel.id }));
    if (option.type === OPTION.role) return store.roles.map((role) => ({ name: `@${role.name}`, value: role.id }));
    return null;
  }

  /** @param {any} option @param {string} typed @returns {Promise<{name: string, value: any}[]>} */
  async autocomplete(option, typed) {
    const values = { ...this.values().values, [option.name]: typed };
    const { store } = this.host;
    const data = await store.connection.request('autocomplete', { channel_id: store.channelId, command_id: this.leaf.command.id, options: toOptions(this.leaf, values, option.name) });
    return data.choices ?? [];
  }

  /**
   * @returns {{values: Record<string, unknown>, wrong: {field: OptionField | FileField, error: string} | null}} wrong: the first field that is
   */
  values() {
    const values = /** @type {Record<string, unknown>} */ ({});
    let wrong = null;
    for (const field of this.fields) {
      const { value, error } = field.read();
      if (error && !wrong) wrong = { field, error };
      if (value !== undefined) values[field.option.name] = value;
    }
    return { values, wrong };
  }

  /** @param {Event} event */
  submitted(event) {
    event.preventDefault();
    this.submit();
  }

  /** Enter: the next empty required field, or off it goes. */
  async submit() {
    if (this.sending) return;
    const { values, wrong } = this.values();
    if (wrong) return this.refuse(wrong.field, wrong.error);
    this.sending = true;
    this.sendButton.setAttribute('aria-busy', 'true');
    try {
      await this.host.run(this.leaf, toOptions(this.leaf, values));
    } catch (error) {
      fill(this.error, /** @type {Error} */ (error).message);
    } finally {
      this.sending = false;
      this.sendButton.removeAttribute('aria-busy');
    }
  }

  /** @param {OptionField | FileField} field @param {string} error */
  refuse(field, error) {
    const here = field.element.contains(document.activeElement);
    const isEmptyNext = !here && field instanceof OptionField && field.input.value === '';
    field.focus();
    // Moving on to the next field is no mistake; staying on an empty or wrong one is.
    if (isEmptyNext) return;
    field.complain(error);
    fill(this.error, error);
  }

  /** Puts the cursor where something is missing, else on the send button's field. */
  focus() {
    const empty = this.fields.find((field) => field instanceof FileField || field.input.value === '');
    const target = empty ?? this.fields.at(-1);
    if (target) target.focus();
    else this.sendButton.focus();
    for (const field of this.fields) if (field instanceof OptionField) field.grow();
  }

  /** A file dropped on the chat goes into the first file option. @param {File} file @returns {boolean} */
  takeFile(file) {
    const option = this.leaf.options.find((known) => known.type === OPTION.attachment);
    if (!option) return false;
    const field = this.fields.find((known) => known.option === option) ?? this.add(option, '');
    this.drawExtras();
    /** @type {FileField} */ (field).take(file);
    return true;
  }
}
