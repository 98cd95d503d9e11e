// @ts-check
import { runScript } from '../lib/run-script.mjs';

/**
 * The benchmarks: ratios against the peers that are installed.
 * @param {string[]} args
 */
export const run = args => runScript('bench', args);
