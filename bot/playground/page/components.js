'use strict';
/**
 * Components of a message as elements: buttons and selects in rows, and the layout components (containers, sections,
 * text, media, separators). Knows how they look; what a press does comes from `ComponentContext`.
 */

import { h, safeUrl } from './dom.js';
import { cssColour, fileCard, mediaUrl, picture } from './embeds.js';
import { markdown } from './markdown.js';
import { SelectBox } from './select.js';

/**
 * @typedef {object} ComponentContext
 * @property {import('./markdown.js').MarkdownContext} markdown
 * @property {any[]} attachments
 * @property {{id: string, label: string}[]} users for user selects
 * @property {{id: string, label: string}[]} channels for channel selects
 * @property {{id: string, label: string}[]} roles for role selects
 * @property {(customId: string) => boolean} isBusy whether a press is waiting for its answer
 * @property {(customId: string, type: number, values?: string[]) => void} press
 */

export const TYPE = Object.freeze({
  row: 1, button: 2, select: 3, textInput: 4, userSelect: 5, roleSelect: 6, mentionableSelect: 7, channelSelect: 8, section: 9, text: 10,
  thumbnail: 11, gallery: 12, file: 13, separator: 14, container: 17, label: 18, fileUpload: 19, radio: 21, checkboxes: 22, checkbox: 23,
});

const STYLES = ['', 'primary', 'secondary', 'success', 'danger', 'link'];

/**
 * @param {{name?: string | null, id?: string | null} | null | undefined} emoji
 * @returns {string | null} custom emoji have no picture here: their name stands for them
 */
export function emojiText(emoji) {
  if (!emoji?.name) return null;
  return emoji.id ? `:${emoji.name}:` : emoji.name;
}

/** @type {Record<number, (component: any, context: ComponentContext) => Node | null>} */
const RENDERERS = {
  [TYPE.row]: (component, context) => h('div', { class: 'row' }, renderComponents(component.components, context)),
  [TYPE.button]: renderButton,
  [TYPE.select]: renderSelect,
  [TYPE.userSelect]: renderSelect,
  [TYPE.roleSelect]: renderSelect,
  [TYPE.mentionableSelect]: renderSelect,
  [TYPE.channelSelect]: renderSelect,
  [TYPE.section]: renderSection,
  [TYPE.text]: (component, context) => markdown(component.content, context.markdown),
  [TYPE.thumbnail]: (component, context) => picture(mediaUrl(component.media.url, context.attachments), component.description ?? '', 'thumbnail'),
  [TYPE.gallery]: renderGallery,
  [TYPE.file]: renderFile,
  [TYPE.separator]: renderSeparator,
  [TYPE.container]: renderContainer,
};

/**
 * @param {any[] | undefined} components
 * @param {ComponentContext} context
 * @returns {Node[]}
 */
export function renderComponents(components, context) {
  return (components ?? []).map((component) => RENDERERS[component.type]?.(component, context) ?? null).filter((node) => node !== null);
}

/** @param {any} button @param {ComponentContext} context @returns {HTMLElement} */
function renderButton(button, context) {
  const emoji = emojiText(button.emoji);
  const words = [emoji && h('span', { class: 'button-emoji', 'aria-hidden': 'true' }, emoji), button.label && h('span', {}, button.label)];
  const name = button.label ? null : button.emoji?.name ?? 'Button';
  if (button.style === 5) return linkButton(button, words, name);
  const busy = context.isBusy(button.custom_id);
  return h(
    'button',
    {
      class: `button ${STYLES[button.style] ?? 'secondary'}${busy ? ' busy' : ''}`, type: 'button', 'aria-label': name, 'aria-busy': busy ? 'true' : null,
      disabled: button.disabled, 'data-custom-id': button.custom_id,
      onclick: () => !context.isBusy(button.custom_id) && context.press(button.custom_id, TYPE.button),
    },
    words,
  );
}

/** @param {any} button @param {import('./dom.js').Child[]} words @param {string | null} name @returns {HTMLElement} */
function linkButton(button, words, name) {
  const url = safeUrl(button.url ?? '');
  return h('a', { class: 'button secondary', href: url, target: '_blank', rel: 'noopener noreferrer', 'aria-label': name }, words);
}

/**
 * The choices of any kind of select.
 * @param {any} select
 * @param {Pick<ComponentContext, 'users' | 'channels' | 'roles'>} context
 * @returns {import('./listbox.js').Choice[]}
 */
export function selectChoices(select, context) {
  const preset = new Set((select.default_values ?? []).map((/** @type {any} */ entry) => String(entry.id)));
  const listed = (/** @type {{id: string, label: string}[]} */ entries) => entries.map(({ id, label }) => ({ value: id, label, selected: preset.has(id) }));
  if (select.type === TYPE.userSelect || select.type === TYPE.mentionableSelect) return listed(context.users);
  if (select.type === TYPE.channelSelect) return listed(context.channels);
  if (select.type === TYPE.roleSelect) return listed(context.roles);
  return (select.options ?? []).map((/** @type {any} */ option) => ({
    value: option.value, label: option.label, description: option.description, emoji: emojiText(option.emoji) ?? undefined, selected: option.default,
  }));
}

/** @param {any} select @param {ComponentContext} context @returns {HTMLElement} */
function renderSelect(select, context) {
  const box = new SelectBox({
    choices: selectChoices(select, context), label: select.placeholder ?? 'Choose', placeholder: select.placeholder,
    min: select.min_values, max: select.max_values, customId: select.custom_id, disabled: select.disabled || context.isBusy(select.custom_id),
    onChange: (values) => context.press(select.custom_id, select.type, values),
  });
  return box.button;
}

/** @param {any} section @param {ComponentContext} context @returns {HTMLElement} */
function renderSection(section, context) {
  return h(
    'div', { class: 'section' },
    h('div', { class: 'section-text' }, renderComponents(section.components, context)),
    h('div', { class: 'accessory' }, renderComponents(section.accessory ? [section.accessory] : [], context)),
  );
}

/** @param {any} gallery @param {ComponentContext} context @returns {HTMLElement} */
function renderGallery(gallery, context) {
  const pictures = gallery.items.map((/** @type {any} */ item) => picture(mediaUrl(item.media.url, context.attachments), item.description ?? 'Picture', 'gallery-item'));
  return h('div', { class: 'gallery' }, pictures);
}

/** @param {any} file @param {ComponentContext} context @returns {HTMLElement | null} */
function renderFile(file, context) {
  const url = mediaUrl(file.file.url, context.attachments);
  return url ? fileCard(url, file.name ?? url.split('/').at(-1)?.split('?')[0] ?? 'file', file.size) : null;
}

/** @param {any} separator @returns {HTMLElement} */
function renderSeparator(separator) {
  return h('hr', { class: `separator${separator.spacing === 2 ? ' wide' : ''}${separator.divider === false ? ' blank' : ''}` });
}

/** @param {any} container @param {ComponentContext} context @returns {HTMLElement} */
function renderContainer(container, context) {
  const box = h('div', { class: 'container' }, renderComponents(container.components, context));
  const colour = cssColour(container.accent_color);
  if (colour) {
    box.classList.add('accented');
    box.style.setProperty('--bar', colour);
  }
  return box;
}
