'use strict';
/** The page's own line icons, drawn on a 20 × 20 grid. Decorative: the button beside them carries the words. */

const PATHS = /** @type {Record<string, string>} */ ({
  hash: 'M7.5 3 6 17M14 3l-1.5 14M3.5 7.5h14M2.5 12.5h14',
  menu: 'M3 5.5h14M3 10h14M3 14.5h14',
  close: 'm5 5 10 10M15 5 5 15',
  plus: 'M10 4v12M4 10h12',
  send: 'M3.5 4 17 10 3.5 16l2-6zM5.5 10H11',
  more: 'M5 10h.01M10 10h.01M15 10h.01',
  eye: 'M2 10s3-5.5 8-5.5S18 10 18 10s-3 5.5-8 5.5S2 10 2 10zM10 12.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5z',
  file: 'M5 2.5h6.5L15 6v11.5H5zM11 2.5V6.5h4',
  download: 'M10 3v9m-3.5-3.5L10 12l3.5-3.5M4 16.5h12',
  check: 'm4 10.5 4 4 8-9',
  cross: 'm5.5 5.5 9 9m0-9-9 9',
  chevron: 'm6 8 4 4 4-4',
  book: 'M10 5.5C8.5 4 6 3.5 3 3.5v11c3 0 5.5.5 7 2 1.5-1.5 4-2 7-2v-11c-3 0-5.5.5-7 2zm0 0v11',
  lock: 'M5 9h10v8H5zM7 9V6.5a3 3 0 0 1 6 0V9',
  alert: 'M10 3 2.5 16.5h15zM10 8v4M10 14.3h.01',
  swap: 'M4 7h11m-3-3 3 3-3 3M16 13H5m3 3-3-3 3-3',
  copy: 'M7 7h9.5v9.5H7zM4 13V4h9',
  slash: 'M12.5 3.5 7.5 16.5',
  spark: 'M10 2.5 11.8 8 17.5 10l-5.7 2L10 17.5 8.2 12 2.5 10l5.7-2z',
  wifi: 'M2.5 8a11 11 0 0 1 15 0M5 11a7 7 0 0 1 10 0M7.5 13.7a3.5 3.5 0 0 1 5 0M10 16.5h.01',
  scale: 'M10 3v14M5 17h10M4 6h12M4 6l-2 5h4zM16 6l-2 5h4z',
  reply: 'M8 5 3.5 9.5 8 14M3.5 9.5H12a4.5 4.5 0 0 1 4.5 4.5v1.5',
});

/**
 * @param {keyof typeof PATHS | string} name
 * @param {number} [size] in CSS pixels
 * @returns {SVGSVGElement}
 */
export function icon(name, size = 20) {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  const attributes = { viewBox: '0 0 20 20', width: size, height: size, class: `icon icon-${name}`, 'aria-hidden': 'true' };
  for (const [key, value] of Object.entries(attributes)) svg.setAttribute(key, String(value));
  const path = document.createElementNS(space, 'path');
  path.setAttribute('d', PATHS[name] ?? PATHS.spark);
  svg.append(path);
  return svg;
}
