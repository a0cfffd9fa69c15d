'use strict';
/** Things that float beside an element: one at a time, closed by Escape, a press elsewhere or resizing. */

import { h } from './dom.js';

/** @type {(() => void) | null} */
let closeCurrent = null;

/** Closes the popup that is open, if any. */
export function closePopup() {
  closeCurrent?.();
}

/**
 * Puts `panel` at a point, inside the window, above it where there is no room below.
 * @param {HTMLElement} panel
 * @param {{left: number, top: number, bottom: number}} box
 */
function place(panel, box) {
  const { offsetWidth: width, offsetHeight: height } = panel;
  const left = Math.max(8, Math.min(box.left, window.innerWidth - width - 8));
  const below = box.bottom + 6;
  const top = below + height > window.innerHeight - 8 ? Math.max(8, box.top - height - 6) : below;
  panel.style.left = `${left}px`;
  panel.style.top = `${top}px`;
}

/**
 * Opens `content` beside `anchor` (or at a point) and calls `onClose` once when it goes.
 * @param {HTMLElement} content
 * @param {{anchor: HTMLElement, at?: {x: number, y: number}, onClose?: () => void, width?: number}} settings
 * @returns {() => void} closes it
 */
export function openPopup(content, { anchor, at, onClose, width }) {
  closePopup();
  const panel = h('div', { class: 'popup' }, content);
  if (width) panel.style.minWidth = `${width}px`;
  // Inside a dialog the popup must live in the dialog: everything outside it is inert.
  (anchor.closest('dialog') ?? document.body).append(panel);
  const settle = () => place(panel, at ? { left: at.x, top: at.y, bottom: at.y } : anchor.getBoundingClientRect());
  settle();
  const ends = new AbortController();
  const close = () => {
    if (ends.signal.aborted) return;
    ends.abort();
    panel.remove();
    closeCurrent = null;
    onClose?.();
  };
  closeCurrent = close;
  listenForTheEnd(panel, anchor, close, ends.signal);
  // New messages scroll the list: the popup stays with its button.
  window.addEventListener('scroll', () => anchor.isConnected && settle(), { signal: ends.signal, capture: true });
  return close;
}

/**
 * @param {HTMLElement} panel
 * @param {HTMLElement} anchor
 * @param {() => void} close
 * @param {AbortSignal} signal
 */
function listenForTheEnd(panel, anchor, close, signal) {
  const outside = (/** @type {Event} */ event) => {
    const target = /** @type {Node} */ (event.target);
    if (!panel.contains(target) && !anchor.contains(target)) close();
  };
  window.addEventListener('pointerdown', outside, { signal, capture: true });
  window.addEventListener('resize', close, { signal });
  window.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    event.preventDefault();
    event.stopPropagation();
    close();
  }, { signal, capture: true });
}

/**
 * A menu of actions with arrow-key steering.
 * @param {{label: string, icon?: Node, hint?: string, checked?: boolean, run: () => void}[]} items
 * @param {{anchor: HTMLElement, label: string, at?: {x: number, y: number}}} settings
 */
export function openMenu(items, { anchor, label, at }) {
  const rows = items.map((item) => h(
    'button',
    { class: 'menu-item', type: 'button', role: item.checked === undefined ? 'menuitem' : 'menuitemradio', 'aria-checked': item.checked === undefined ? null : String(item.checked), tabindex: '-1' },
    item.icon, h('span', { class: 'menu-label' }, item.label), item.hint && h('span', { class: 'menu-hint' }, item.hint),
  ));
  const menu = h('div', { class: 'menu', role: 'menu', 'aria-label': label }, rows);
  const close = openPopup(menu, { anchor, at, onClose: () => anchor.focus({ preventScroll: true }) });
  rows.forEach((row, index) => row.addEventListener('click', () => {
    close();
    items[index].run();
  }));
  menu.addEventListener('keydown', (event) => steerMenu(event, rows, close));
  rows[Math.max(0, items.findIndex((item) => item.checked))]?.focus();
}

/**
 * @param {KeyboardEvent} event
 * @param {HTMLElement[]} rows
 * @param {() => void} close
 */
function steerMenu(event, rows, close) {
  const at = rows.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  const steps = /** @type {Record<string, number>} */ ({ ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 });
  if (event.key === 'Tab') close();
  if (!(event.key in steps)) return;
  event.preventDefault();
  rows.at(steps[event.key] % rows.length)?.focus();
}
