// @ts-check
import { runScript } from '../lib/run-script.mjs';

/**
 * The engine in seeded, simulated worlds.
 * @param {string[]} args
 */
export const run = args => runScript('sim', args);
