'use strict';
/**
 * The one way this page makes elements: nodes and text nodes, never markup from a string.
 * Knows nothing about chats, sockets or lessons.
 */

/**
 * @typedef {Node | string | number | null | undefined | false} Child
 */

/**
 * Sets one property or attribute of an element; functions become listeners ("onclick" → "click").
 * @param {Element} element
 * @param {string} name
 * @param {unknown} value
 */
function assign(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (typeof value === 'function') element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
  else if (name === 'class') element.setAttribute('class', String(value));
  else if (name === 'value') /** @type {HTMLInputElement} */ (element).value = String(value);
  else element.setAttribute(name, value === true ? '' : String(value));
}

/**
 * Makes an element with attributes, listeners and children.
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) assign(element, name, value);
  append(element, ...children);
  return element;
}

/**
 * Appends children, skipping empty ones; strings become text nodes.
 * @param {Element | DocumentFragment} parent
 * @param {...(Child | Child[])} children
 */
export function append(parent, ...children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(child instanceof Node ? child : String(child));
  }
}

/**
 * Replaces everything inside an element.
 * @param {Element} parent
 * @param {...(Child | Child[])} children
 */
export function fill(parent, ...children) {
  parent.replaceChildren();
  append(parent, ...children);
}

/**
 * The element with this id; the page's own shell always has it.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no element #${id}`);
  return element;
}

let serial = 0;

/**
 * An id no other element has: for labels, described-by and active-descendant.
 * @param {string} prefix
 * @returns {string}
 */
export function uniqueId(prefix) {
  serial += 1;
  return `${prefix}-${serial}`;
}

/**
 * Says a sentence to screen readers without moving focus.
 * @param {string} sentence
 */
export function announce(sentence) {
  const region = byId('announcer');
  region.textContent = '';
  window.setTimeout(() => { region.textContent = sentence; }, 50);
}

/**
 * Only addresses of this server (made relative, so that localhost and 127.0.0.1 both work) and plain web links pass.
 * @param {string} address
 * @returns {string | null}
 */
export function safeUrl(address) {
  let url;
  try {
    url = new URL(address, location.href);
  } catch {
    return null;
  }
  if (url.protocol === 'blob:') return url.href;
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return null;
  const ours = url.port === location.port && ['127.0.0.1', 'localhost', '[::1]', location.hostname].includes(url.hostname);
  return ours ? url.pathname + url.search : url.href;
}
