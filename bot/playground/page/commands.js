'use strict';
/** Slash commands as data: flattening groups, matching what is typed, checking values. No elements, no socket. */

export const OPTION = Object.freeze({ subcommand: 1, group: 2, string: 3, integer: 4, boolean: 5, user: 6, channel: 7, role: 8, mentionable: 9, number: 10, attachment: 11 });

/**
 * @typedef {object} Leaf one command a person can run, e.g. "train now"
 * @property {any} command the Discord command object it belongs to
 * @property {string[]} path names from the command down
 * @property {string} name
 * @property {string} description
 * @property {any[]} options
 */

/**
 * @param {any[]} commands
 * @returns {Leaf[]} alphabetically
 */
export function leaves(commands) {
  const found = commands.flatMap((command) => descend(command, command, [command.name]));
  return found.sort((a, b) => a.name.localeCompare(b.name));
}

/**
 * @param {any} command
 * @param {any} node
 * @param {string[]} path
 * @returns {Leaf[]}
 */
function descend(command, node, path) {
  const children = (node.options ?? []).filter((/** @type {any} */ option) => option.type === OPTION.subcommand || option.type === OPTION.group);
  if (children.length > 0) return children.flatMap((/** @type {any} */ child) => descend(command, child, [...path, child.name]));
  return [{ command, path, name: path.join(' '), description: node.description ?? '', options: node.options ?? [] }];
}

/**
 * Commands that fit what was typed after the slash: names that begin so first, then names and descriptions that contain it.
 * @param {Leaf[]} all
 * @param {string} typed
 * @returns {Leaf[]}
 */
export function matching(all, typed) {
  const wanted = typed.trim().toLowerCase();
  const rank = (/** @type {Leaf} */ leaf) => {
    if (leaf.name.startsWith(wanted)) return 0;
    if (leaf.name.includes(wanted)) return 1;
    return wanted.length > 2 && leaf.description.toLowerCase().includes(wanted) ? 2 : 3;
  };
  return all.filter((leaf) => rank(leaf) < 3).sort((a, b) => rank(a) - rank(b));
}

/**
 * "/ask text: hello" → the leaf "ask" and its values. The longest command name that fits wins.
 * @param {Leaf[]} all
 * @param {string} line
 * @returns {{leaf: Leaf, values: Record<string, string>} | null}
 */
export function parseLine(all, line) {
  if (!line.startsWith('/')) return null;
  const text = line.slice(1);
  const fits = all.filter((leaf) => text === leaf.name || text.startsWith(`${leaf.name} `)).sort((a, b) => b.name.length - a.name.length);
  if (fits.length === 0) return null;
  return { leaf: fits[0], values: parseValues(fits[0], text.slice(fits[0].name.length).trim()) };
}

/**
 * "text: a b label: c" → {text: "a b", label: "c"}; text without a name goes to the first option.
 * @param {Leaf} leaf
 * @param {string} rest
 * @returns {Record<string, string>}
 */
function parseValues(leaf, rest) {
  const values = /** @type {Record<string, string>} */ ({});
  if (!rest || leaf.options.length === 0) return values;
  const names = leaf.options.map((option) => option.name.replace(/[^\w-]/g, ''));
  const parts = rest.split(new RegExp(`(?:^|\\s)(${names.join('|')}):\\s*`));
  if (parts[0].trim()) values[leaf.options[0].name] = parts[0].trim();
  for (let at = 1; at < parts.length; at += 2) values[parts[at]] = parts[at + 1].trim();
  return values;
}

/**
 * Discord's option list for a leaf, wrapped in its subcommands.
 * @param {Leaf} leaf
 * @param {Record<string, unknown>} values by option name; missing ones are left out
 * @param {string} [focused] the option being typed (autocomplete)
 * @returns {any[]}
 */
export function toOptions(leaf, values, focused) {
  const given = leaf.options.filter((option) => values[option.name] !== undefined).map((option) => ({
    type: option.type, name: option.name, value: values[option.name], ...(option.name === focused ? { focused: true } : {}),
  }));
  const names = leaf.path.slice(1);
  return names.reduceRight((options, name, at) => [{ type: at === names.length - 1 ? OPTION.subcommand : OPTION.group, name, options }], given);
}

/**
 * Checks one typed value as Discord's client would.
 * @param {any} option
 * @param {string} text
 * @returns {{value?: unknown, error?: string}} neither: the option was left empty
 */
export function coerce(option, text) {
  if (text.trim() === '') return option.required ? { error: `“${option.name}” is required.` } : {};
  if (option.type === OPTION.integer || option.type === OPTION.number) return coerceNumber(option, text.trim());
  if (option.type === OPTION.string) return coerceText(option, text);
  return { value: text };
}

/** @param {any} option @param {string} text @returns {{value?: number, error?: string}} */
function coerceNumber(option, text) {
  const value = Number(text);
  if (!Number.isFinite(value)) return { error: `“${option.name}” has to be a number.` };
  if (option.type === OPTION.integer && !Number.isInteger(value)) return { error: `“${option.name}” has to be a whole number.` };
  if (option.min_value !== undefined && value < option.min_value) return { error: `“${option.name}” has to be at least ${option.min_value}.` };
  if (option.max_value !== undefined && value > option.max_value) return { error: `“${option.name}” can be at most ${option.max_value}.` };
  return { value };
}

/** @param {any} option @param {string} text @returns {{value?: string, error?: string}} */
function coerceText(option, text) {
  const { min_length: least = 0, max_length: most = 6000 } = option;
  if (text.length < least) return { error: `“${option.name}” needs at least ${least} characters.` };
  if (text.length > most) return { error: `“${option.name}” has ${text.length} characters; at most ${most} fit.` };
  return { value: text };
}
