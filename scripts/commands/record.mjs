// @ts-check
import { runScript } from '../lib/run-script.mjs';

/**
 * Recordings of ops and small models, for weft-replay on machines without Node.
 * @param {string[]} args
 */
export const run = args => runScript('gpu', args);
