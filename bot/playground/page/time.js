'use strict';
/** Times as words. Knows the browser's language and clock, nothing about messages. */

const UNITS = /** @type {[Intl.RelativeTimeFormatUnit, number][]} */ ([
  ['year', 31557600], ['month', 2629800], ['week', 604800], ['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1],
]);

const STYLES = /** @type {Record<string, Intl.DateTimeFormatOptions>} */ ({
  t: { hour: '2-digit', minute: '2-digit' },
  T: { hour: '2-digit', minute: '2-digit', second: '2-digit' },
  d: { day: '2-digit', month: '2-digit', year: 'numeric' },
  D: { day: 'numeric', month: 'long', year: 'numeric' },
  f: { day: 'numeric', month: 'long', year: 'numeric', hour: '2-digit', minute: '2-digit' },
  F: { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric', hour: '2-digit', minute: '2-digit' },
});

/**
 * "3 minutes ago", "in 2 hours".
 * @param {number} unix seconds
 * @param {number} [now] seconds
 * @returns {string}
 */
export function relative(unix, now = Date.now() / 1000) {
  const seconds = unix - now;
  const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? ['second', 1];
  return new Intl.RelativeTimeFormat('en', { numeric: 'auto' }).format(Math.round(seconds / size), unit);
}

/**
 * Discord's timestamp styles: t T d D f F R.
 * @param {number} unix seconds
 * @param {string} style
 * @returns {string}
 */
export function stamp(unix, style) {
  if (style === 'R') return relative(unix);
  return new Intl.DateTimeFormat('en-GB', STYLES[style] ?? STYLES.f).format(unix * 1000);
}

/**
 * A time element; relative ones are refreshed by `refreshRelative`.
 * @param {number} unix seconds
 * @param {string} style
 * @param {string} [className]
 * @returns {HTMLTimeElement}
 */
export function timeElement(unix, style, className = 'stamp') {
  const element = document.createElement('time');
  element.className = className;
  element.dateTime = new Date(unix * 1000).toISOString();
  element.title = stamp(unix, 'F');
  element.textContent = stamp(unix, style);
  if (style === 'R') element.dataset.unix = String(unix);
  return element;
}

/** Brings every relative time on the page up to date. */
export function refreshRelative() {
  for (const element of document.querySelectorAll('time[data-unix]')) {
    element.textContent = relative(Number(/** @type {HTMLElement} */ (element).dataset.unix));
  }
}

/**
 * "Today", "Yesterday" or the date.
 * @param {Date} date
 * @returns {string}
 */
export function dayName(date) {
  const days = Math.round((startOfDay(new Date()) - startOfDay(date)) / 86400000);
  if (days === 0) return 'Today';
  return days === 1 ? 'Yesterday' : stamp(date.getTime() / 1000, 'D');
}

/**
 * @param {Date} date
 * @returns {number} milliseconds at local midnight
 */
export function startOfDay(date) {
  return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
}

/**
 * "about 12 s", "about 3 min".
 * @param {number} seconds
 * @returns {string}
 */
export function duration(seconds) {
  if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s`;
  return `about ${Math.round(seconds / 60)} min`;
}

/**
 * "812 B", "12 KB", "3.4 MB".
 * @param {number} bytes
 * @returns {string}
 */
export function fileSize(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1048576) return `${Math.round(bytes / 1024)} KB`;
  return `${(bytes / 1048576).toFixed(1)} MB`;
}
