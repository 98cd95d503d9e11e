// @ts-check
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { inRoot } from '../lib/checkout.mjs';
import { Problem } from '../lib/problem.mjs';
import { runners } from '../lib/prepare.mjs';
import { workspaces } from '../lib/typescript.mjs';

/** Removes what was built; installed packages stay. */
export async function run() {
  const [other] = [...runners.others('serve'), ...runners.others('test')];
  if (other) throw new Problem(`a process runs from this checkout (pid ${other.pid}). Stop it, then try again.`);
  for (const folder of [inRoot(), ...workspaces()]) {
    for (const name of readdirSync(folder)) {
      if (/^(dist|build(-.*)?)$/.test(name)) rmSync(join(folder, name), { recursive: true });
    }
  }
  return 0;
}
