'use strict';
/** Sends files to the playground. Knows the upload route, not what the files are for. */

import { fileSize } from './time.js';

export const MAX_FILE = 10 * 1024 * 1024;

/**
 * @typedef {{id: string, filename: string, size: number, content_type?: string, url: string}} Upload
 */

/**
 * @param {File} file
 * @returns {Promise<Upload>} rejects with one sentence
 */
export async function upload(file) {
  if (file.size > MAX_FILE) throw new Error(`“${file.name}” has ${fileSize(file.size)}; at most ${fileSize(MAX_FILE)} can be sent.`);
  const body = new FormData();
  body.append('file', file, file.name);
  let response;
  try {
    response = await fetch('/playground/uploads', { method: 'POST', body });
  } catch {
    throw new Error(`“${file.name}” could not be sent: the playground cannot be reached.`);
  }
  if (!response.ok) throw new Error(await refusal(response, file.name));
  return response.json();
}

/**
 * @param {Response} response
 * @param {string} name
 * @returns {Promise<string>}
 */
async function refusal(response, name) {
  const answer = await response.json().catch(() => ({}));
  return answer.error ?? `“${name}” was refused (${response.status}).`;
}
