// @ts-check
import { inRoot } from '../lib/checkout.mjs';
import { prepare, runners } from '../lib/prepare.mjs';
import { runHere } from '../lib/processes.mjs';

/**
 * `weft up` with the given options. Its exit code is this one's; relative paths stay relative to where npm was called.
 * @param {string[]} args
 */
export async function run(args) {
  const env = await prepare('serve');
  return runHere([process.execPath, '--enable-source-maps', inRoot('apps', 'cli', 'dist', 'main.js'), 'up', ...args], {
    env: { ...env, INIT_CWD: env.INIT_CWD ?? process.cwd() },
    // Announced itself too: it outlives this process when that is killed.
    started: pid => runners.announce('serve', pid),
  });
}
