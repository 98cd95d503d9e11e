// @ts-check
import { prepare } from '../lib/prepare.mjs';

/** Installs and builds what is stale. */
export async function run() {
  await prepare('build');
  return 0;
}
