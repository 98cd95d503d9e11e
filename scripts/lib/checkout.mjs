// @ts-check
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

/** The repository's root folder, without a trailing slash. */
export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/** @param {string[]} parts a path relative to the root */
export const inRoot = (...parts) => join(root, ...parts);

/** Progress goes to standard error: standard output belongs to the command that runs afterwards. */
export const say = (/** @type {string} */ line) => process.stderr.write(`weft: ${line}\n`);
