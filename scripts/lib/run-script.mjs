// @ts-check
import { existsSync } from 'node:fs';
import { inRoot } from './checkout.mjs';
import { Problem } from './problem.mjs';
import { prepare } from './prepare.mjs';
import { runHere } from './processes.mjs';

/**
 * Prepares the checkout and runs `main.ts` or `main.mjs` of a folder below test/.
 * @param {string} folder
 * @param {string[]} args
 */
export async function runScript(folder, args) {
  const main = ['main.ts', 'main.mjs'].map(name => inRoot('test', folder, name)).find(existsSync);
  if (!main) throw new Problem(`test/${folder} has no main.ts`);
  const env = await prepare('test');
  return runHere([process.execPath, '--import', inRoot('scripts', 'lib', 'run-typescript.mjs'), main, ...args], { env });
}
