'use strict';
/** The message box: text, files, and the slash-command picker; a chosen command takes its place (command_form.js). */

import { CommandForm } from './command_form.js';
import { leaves, matching, parseLine } from './commands.js';
import { append, byId, fill, h } from './dom.js';
import { icon } from './icons.js';
import { Listbox } from './listbox.js';
import { upload } from './uploads.js';

const MAX_MESSAGE = 2000;

export class Composer {
  /**
   * @param {import('./store.js').Store} store
   * @param {import('./app.js').Actions} actions
   */
  constructor(store, actions) {
    this.store = store;
    this.actions = actions;
    /** @type {import('./uploads.js').Upload[]} */
    this.files = [];
    /** @type {CommandForm | null} */
    this.form = null;
    /** Channel and person that the command belongs to. */
    this.place = '';
    this.suggestions = h('div', { class: 'suggestions', hidden: true });
    this.note = h('p', { class: 'form-error', role: 'alert' });
    this.tray = h('ul', { class: 'tray', 'aria-label': 'Files to send' });
    this.picker = new Listbox({ label: 'Commands', onChoose: (choice) => this.openLeaf(choice.value, {}) });
    this.input = this.makeInput();
    this.picker.ownedBy(this.input);
    this.fileInput = /** @type {HTMLInputElement} */ (h('input', { type: 'file', multiple: true, hidden: true, tabindex: '-1', 'aria-label': 'Choose files', onchange: () => this.addFiles([...this.fileInput.files ?? []]) }));
    this.box = this.makeBox();
    fill(byId('composer'), this.suggestions, this.box);
    this.acceptDrops(byId('chat'));
  }

  /** @returns {HTMLTextAreaElement} */
  makeInput() {
    return /** @type {HTMLTextAreaElement} */ (h('textarea', {
      id: 'message', rows: '1', class: 'message-input', autocomplete: 'off', role: 'combobox', 'aria-expanded': 'false', 'aria-autocomplete': 'list', maxlength: String(MAX_MESSAGE * 2),
      oninput: () => this.typed(), onkeydown: (/** @type {KeyboardEvent} */ event) => this.key(event), onblur: () => this.suggest(null), onfocus: () => this.typed(),
      onpaste: (/** @type {ClipboardEvent} */ event) => this.pasted(event),
    }));
  }

  /** @returns {HTMLElement} */
  makeBox() {
    return h(
      'div', { class: 'message-box' }, this.tray,
      h('div', { class: 'message-line' },
        h('button', { class: 'icon-button', type: 'button', 'aria-label': 'Attach a file', onclick: () => this.fileInput.click() }, icon('plus')),
        this.fileInput, this.input,
        h('button', { class: 'icon-button slash-button', type: 'button', 'aria-label': 'Choose a command', title: 'Commands', onclick: () => this.startCommand() }, icon('slash')),
        h('button', { class: 'send', type: 'button', 'aria-label': 'Send the message', onclick: () => this.send() }, icon('send'))),
      this.note,
    );
  }

  /** Names the channel; closes a command that belonged to another one, or to another person. */
  channelChanged() {
    const place = `${this.store.channelId} ${this.store.me?.id}`;
    if (this.form && place !== this.place) this.closeForm();
    this.place = place;
    const name = this.store.channelName(this.store.channelId);
    this.input.placeholder = `Message #${name} or type /`;
    this.input.setAttribute('aria-label', `Message #${name}`);
  }

  /** @returns {import('./commands.js').Leaf[]} */
  get leaves() {
    return leaves(this.store.commandsOf(1));
  }

  /** Shows a list above the box, or none. @param {HTMLElement | null} element */
  suggest(element) {
    fill(this.suggestions, element);
    this.suggestions.hidden = !element;
    if (!element) {
      this.input.setAttribute('aria-expanded', 'false');
      this.input.removeAttribute('aria-activedescendant');
    }
  }

  startCommand() {
    this.input.value = '/';
    this.input.focus();
    this.typed();
  }

  typed() {
    this.input.style.height = 'auto';
    this.input.style.height = `${this.input.scrollHeight}px`;
    fill(this.note);
    const text = this.input.value;
    if (!text.startsWith('/') || text.includes('\n')) return this.suggest(null);
    const parsed = parseLine(this.leaves, text);
    // A space after a full name opens the command, unless the name is also the beginning of others ("train now").
    const longer = this.leaves.some((leaf) => leaf.name.startsWith(text.slice(1)) && leaf.name !== text.slice(1).trim());
    if (parsed && text.includes(' ') && !longer && text.length > parsed.leaf.name.length + 1) return this.openLeaf(parsed.leaf, parsed.values);
    return this.showPicker(text.slice(1));
  }

  /** @param {string} typed */
  showPicker(typed) {
    const found = matching(this.leaves, typed);
    if (found.length === 0) {
      this.picker.show([]);
      this.suggest(h('p', { class: 'suggest-note' }, this.leaves.length ? `No command fits “/${typed}”.` : 'The bot has no commands yet. It brings them when it is online.'));
      return;
    }
    this.picker.show(found.map((leaf) => ({ value: leaf, label: `/${leaf.name}`, description: leaf.description, hint: leaf.options.filter((option) => option.required).map((option) => option.name).join(' · ') })));
    this.suggest(h('div', {}, h('p', { class: 'suggest-title' }, 'Commands of Pupil'), this.picker.element));
    this.input.setAttribute('aria-expanded', 'true');
    this.picker.mark();
  }

  /** @returns {boolean} */
  get picking() {
    return this.input.getAttribute('aria-expanded') === 'true';
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.isComposing) return;
    if (this.picking && this.picker.steer(event)) return;
    const { active } = this.picker;
    if (this.picking && active && (event.key === 'Enter' || event.key === 'Tab') && !event.shiftKey) {
      event.preventDefault();
      this.openLeaf(active.value, parseLine(this.leaves, this.input.value)?.values ?? {});
    } else if (this.picking && event.key === 'Escape') {
      event.preventDefault();
      this.suggest(null);
    } else if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      this.send();
    }
  }

  /**
   * Puts a command in the place of the message box.
   * @param {import('./commands.js').Leaf} leaf
   * @param {Record<string, string>} values
   */
  openLeaf(leaf, values) {
    this.form?.element.remove();
    this.suggest(null);
    this.input.value = '';
    this.form = new CommandForm(leaf, values, {
      store: this.store,
      suggest: (element) => this.suggest(element),
      run: async (chosen, options) => {
        const { form } = this;
        await this.actions.runCommand(chosen, options);
        if (this.form === form) this.closeForm(); // else it was closed meanwhile, and something else may be typed
      },
      close: () => this.closeForm(),
    });
    this.box.hidden = true;
    append(byId('composer'), this.form.element);
    this.form.focus();
  }

  /**
   * Opens a command by its name ("ask", "train now"), e.g. from a command mention or a lesson's chip.
   * @param {string} name
   * @param {Record<string, string>} [values]
   * @returns {boolean} whether there is such a command
   */
  openCommand(name, values = {}) {
    const leaf = this.leaves.find((known) => known.name === name) ?? this.leaves.find((known) => known.name.startsWith(`${name} `));
    if (!leaf) return false;
    this.openLeaf(leaf, values);
    return true;
  }

  closeForm() {
    this.form?.element.remove();
    this.form = null;
    this.box.hidden = false;
    this.suggest(null);
    this.input.value = '';
    this.input.style.height = 'auto';
    this.input.focus();
  }

  async send() {
    const content = this.input.value.trim();
    if (!content && this.files.length === 0) return;
    const parsed = parseLine(this.leaves, content);
    if (parsed) return this.openLeaf(parsed.leaf, parsed.values);
    if (content.length > MAX_MESSAGE) return fill(this.note, `A message has at most ${MAX_MESSAGE} characters; this one has ${content.length}.`);
    try {
      await this.actions.say(content, this.files.map((file) => file.id));
      this.input.value = '';
      this.files = [];
      this.drawTray();
      this.typed();
    } catch (error) {
      fill(this.note, /** @type {Error} */ (error).message);
    }
  }

  /** @param {ClipboardEvent} event */
  pasted(event) {
    const files = [...event.clipboardData?.files ?? []];
    if (files.length === 0) return;
    event.preventDefault();
    this.addFiles(files);
  }

  /** @param {File[]} files */
  async addFiles(files) {
    this.fileInput.value = '';
    for (const file of files) {
      if (this.form?.takeFile(file)) return;
      try {
        this.files.push(await upload(file));
        this.drawTray();
      } catch (error) {
        fill(this.note, /** @type {Error} */ (error).message);
      }
    }
    if (!this.form) this.input.focus();
  }

  drawTray() {
    fill(this.tray, this.files.map((file) => h(
      'li', { class: 'tray-file' }, icon('file', 16), h('span', {}, file.filename),
      h('button', { class: 'icon-button', type: 'button', 'aria-label': `Remove ${file.filename}`, onclick: () => this.removeFile(file) }, icon('close', 14)),
    )));
  }

  /** @param {import('./uploads.js').Upload} file */
  removeFile(file) {
    this.files = this.files.filter((known) => known !== file);
    this.drawTray();
    this.input.focus();
  }

  /** @param {HTMLElement} area */
  acceptDrops(area) {
    const holdsFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes('Files');
    area.addEventListener('dragover', (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      area.classList.add('dropping');
    });
    area.addEventListener('dragleave', (event) => {
      if (!area.contains(/** @type {Node | null} */ (event.relatedTarget))) area.classList.remove('dropping');
    });
    area.addEventListener('drop', (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      area.classList.remove('dropping');
      this.addFiles([...event.dataTransfer?.files ?? []]);
    });
  }
}
