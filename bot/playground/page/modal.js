'use strict';
/** A modal the bot opened, as a dialog with a form. Knows Discord's modal components; sending is given to it. */

import { selectChoices, TYPE } from './components.js';
import { fill, h, uniqueId } from './dom.js';
import { icon } from './icons.js';
import { markdown } from './markdown.js';
import { SelectBox } from './select.js';
import { upload } from './uploads.js';

/**
 * @typedef {object} Field
 * @property {HTMLElement} element
 * @property {() => Record<string, unknown>} read its part of the submission
 * @property {() => string | null} problem why it cannot be sent like this
 * @property {() => void} focus
 */

/**
 * @typedef {object} ModalHost
 * @property {import('./markdown.js').MarkdownContext} markdown
 * @property {{id: string, label: string}[]} users
 * @property {{id: string, label: string}[]} channels
 * @property {{id: string, label: string}[]} roles
 * @property {(components: any[]) => Promise<void>} submit rejects with the server's sentence
 */

/** @param {any} component @returns {boolean} */
const isRequired = (component) => component.required !== false;

/** @param {any} input @param {string} id @returns {Field} */
function textInput(input, id) {
  const control = /** @type {HTMLTextAreaElement} */ (h(input.style === 2 ? 'textarea' : 'input', {
    id, class: 'modal-input', type: input.style === 2 ? null : 'text', rows: input.style === 2 ? '5' : null, placeholder: input.placeholder,
    maxlength: String(input.max_length ?? 4000), value: input.value ?? '', 'aria-required': String(isRequired(input)), autocomplete: 'off', name: input.custom_id,
  }));
  const problem = () => {
    const { length } = control.value;
    if (length === 0) return isRequired(input) ? 'This field is required.' : null;
    return length < (input.min_length ?? 0) ? `At least ${input.min_length} characters, please.` : null;
  };
  return { element: control, problem, focus: () => control.focus(), read: () => ({ type: TYPE.textInput, custom_id: input.custom_id, value: control.value }) };
}

/** @param {any} select @param {string} label @param {ModalHost} host @returns {Field} */
function selectField(select, label, host) {
  const least = isRequired(select) ? Math.max(1, select.min_values ?? 1) : select.min_values ?? 0;
  const box = new SelectBox({ choices: selectChoices(select, host), label, placeholder: select.placeholder, min: 0, max: select.max_values, customId: select.custom_id, onChange: () => undefined });
  const problem = () => (box.values.length < least ? `Choose at least ${least}.` : null);
  return { element: box.button, problem, focus: () => box.button.focus(), read: () => ({ type: select.type, custom_id: select.custom_id, values: box.values }) };
}

/**
 * Radio buttons or check boxes, one per option.
 * @param {any} group
 * @param {string} label
 * @returns {Field}
 */
function choiceGroup(group, label) {
  const single = group.type === TYPE.radio;
  const name = uniqueId('group');
  const inputs = (group.options ?? []).map((/** @type {any} */ option) => h('input', { type: single ? 'radio' : 'checkbox', name, value: option.value, checked: option.default }));
  const rows = (group.options ?? []).map((/** @type {any} */ option, /** @type {number} */ at) => h('label', { class: 'tick' }, inputs[at], h('span', {}, option.label, option.description && h('small', {}, option.description))));
  const chosen = () => inputs.filter((/** @type {HTMLInputElement} */ input) => input.checked).map((/** @type {HTMLInputElement} */ input) => input.value);
  const least = isRequired(group) ? Math.max(1, group.min_values ?? 1) : 0;
  const most = single ? 1 : group.max_values ?? inputs.length;
  const problem = () => {
    if (chosen().length < least) return single ? 'Choose one.' : `Choose at least ${least}.`;
    return chosen().length > most ? `Choose at most ${most}.` : null;
  };
  const values = () => (single ? { value: chosen()[0] ?? null } : { values: chosen() });
  return { element: h('div', { role: single ? 'radiogroup' : 'group', 'aria-label': label }, rows), problem, focus: () => inputs[0]?.focus(), read: () => ({ type: group.type, custom_id: group.custom_id, ...values() }) };
}

/** @param {any} box @param {string} label @returns {Field} */
function checkbox(box, label) {
  const input = /** @type {HTMLInputElement} */ (h('input', { type: 'checkbox', checked: box.default }));
  return { element: h('label', { class: 'tick' }, input, h('span', {}, label)), problem: () => null, focus: () => input.focus(), read: () => ({ type: TYPE.checkbox, custom_id: box.custom_id, value: input.checked }) };
}

/** @param {any} component @param {string} id @returns {Field} */
function fileField(component, id) {
  /** @type {import('./uploads.js').Upload[]} */
  let files = [];
  let failure = '';
  let sending = false;
  const state = h('p', { class: 'file-state', role: 'status' });
  const take = async () => {
    sending = true;
    fill(state, 'Sending…');
    try {
      files = await Promise.all([...input.files ?? []].slice(0, component.max_values ?? 1).map(upload));
      failure = '';
    } catch (error) {
      files = [];
      failure = /** @type {Error} */ (error).message;
    }
    sending = false;
    fill(state, failure || files.map((file) => file.filename).join(', '));
  };
  const input = /** @type {HTMLInputElement} */ (h('input', { id, type: 'file', class: 'modal-file', multiple: (component.max_values ?? 1) > 1, onchange: take }));
  const problem = () => {
    if (sending) return 'The file is still being sent.';
    return failure || (isRequired(component) && files.length === 0 ? 'A file is needed.' : null);
  };
  return { element: h('div', {}, input, state), problem, focus: () => input.focus(), read: () => ({ type: TYPE.fileUpload, custom_id: component.custom_id, values: files.map((file) => file.id) }) };
}

/** @param {any} component @param {string} id @param {string} label @param {ModalHost} host @returns {Field | null} */
function control(component, id, label, host) {
  if (component.type === TYPE.textInput) return textInput(component, id);
  if (component.type === TYPE.radio || component.type === TYPE.checkboxes) return choiceGroup(component, label);
  if (component.type === TYPE.checkbox) return checkbox(component, label);
  if (component.type === TYPE.fileUpload) return fileField(component, id);
  return component.type >= TYPE.select && component.type <= TYPE.channelSelect ? selectField(component, label, host) : null;
}

/**
 * One top-level component: a label around a control, an action row around a text input, or words.
 * @param {any} component
 * @param {ModalHost} host
 * @returns {{element: HTMLElement, field: Field | null, error: HTMLElement | null}}
 */
function part(component, host) {
  if (component.type === TYPE.text) return { element: markdown(component.content, host.markdown), field: null, error: null };
  const inner = component.component ?? component.components?.[0];
  const label = component.label ?? inner?.label ?? '';
  const id = uniqueId('field');
  const field = inner ? control(inner, id, label, host) : null;
  if (!field) return { element: h('div'), field: null, error: null };
  const error = h('p', { class: 'field-error', role: 'alert' });
  const isTick = inner.type === TYPE.checkbox;
  const element = h(
    'div', { class: 'modal-field' },
    !isTick && h('label', { for: id }, label, isRequired(inner) ? h('span', { class: 'required', 'aria-hidden': 'true' }, ' *') : h('span', { class: 'optional' }, ' optional')),
    component.description && h('p', { class: 'field-description' }, component.description),
    field.element, error,
  );
  return { element, field, error };
}

/**
 * Opens a modal; it closes when it was sent, or by Cancel, Escape and the cross.
 * @param {{title: string, components: any[]}} modal
 * @param {ModalHost} host
 */
export function openModal(modal, host) {
  const parts = modal.components.map((component) => part(component, host));
  const trouble = h('p', { class: 'form-error', role: 'alert' });
  const send = h('button', { class: 'button primary', type: 'submit' }, 'Submit');
  const title = uniqueId('title');
  const form = h(
    'form', { class: 'modal-form', novalidate: true },
    h('div', { class: 'modal-head' }, h('h2', { id: title }, modal.title), h('button', { class: 'icon-button', type: 'button', 'aria-label': 'Close', onclick: () => dialog.close() }, icon('close'))),
    h('div', { class: 'modal-body' }, parts.map(({ element }) => element)),
    h('div', { class: 'modal-foot' }, trouble, h('button', { class: 'button secondary', type: 'button', onclick: () => dialog.close() }, 'Cancel'), send),
  );
  const dialog = /** @type {HTMLDialogElement} */ (h('dialog', { class: 'modal', 'aria-labelledby': title }, form));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    submit(parts, host, dialog, trouble, send);
  });
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  parts.find(({ field }) => field)?.field?.focus();
}

/**
 * @param {ReturnType<typeof part>[]} parts
 * @param {ModalHost} host
 * @param {HTMLDialogElement} dialog
 * @param {HTMLElement} trouble
 * @param {HTMLElement} button
 */
async function submit(parts, host, dialog, trouble, button) {
  const wrong = parts.filter(({ field, error }) => {
    if (error) fill(error, field?.problem());
    return field?.problem();
  });
  if (wrong.length > 0) return wrong[0].field?.focus();
  button.setAttribute('disabled', '');
  try {
    await host.submit(parts.flatMap(({ field }) => (field ? [field.read()] : [])));
    dialog.close();
  } catch (error) {
    fill(trouble, /** @type {Error} */ (error).message);
    button.removeAttribute('disabled');
  }
}
