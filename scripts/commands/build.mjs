// @ts-check
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { inRoot, say } from '../lib/checkout.mjs';
import { withLock } from '../lib/checkout-lock.mjs';
import { buildCuda } from '../lib/cuda.mjs';
import { linkPrebuilt } from '../lib/native.mjs';
import { publishPrebuilt } from '../lib/prebuilt.mjs';
import { prepare } from '../lib/prepare.mjs';
import { findCompiler } from '../lib/requirements.mjs';

/**
 * Installs and builds what is stale. With --prebuilt, writes the addon for other machines of this platform below a folder;
 * with --cuda, builds the kernels for CUDA devices.
 * @param {string[]} args
 */
export async function run(args) {
  const { values: { prebuilt, cuda } } = parseArgs({ args, options: { prebuilt: { type: 'string' }, cuda: { type: 'boolean' } } });
  await prepare('build');
  if (cuda) say(`built ${await withLock(inRoot('build', 'prepare.lock'), 'native', buildCuda)}`);
  if (prebuilt === undefined) return 0;
  const folder = resolve(process.env.INIT_CWD ?? '.', prebuilt);
  const file = await withLock(inRoot('build', 'prepare.lock'), 'native', () => linkPrebuilt(findCompiler()));
  say(`wrote ${publishPrebuilt(file, folder)}`);
  return 0;
}
