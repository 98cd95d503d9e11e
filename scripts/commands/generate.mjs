// @ts-check
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { inRoot, say } from '../lib/checkout.mjs';
import { thirdPartyNotices } from '../lib/notices.mjs';
import { prepare } from '../lib/prepare.mjs';
import { runHere } from '../lib/processes.mjs';
import { workspaces } from '../lib/typescript.mjs';

/** Rewrites the committed files that are generated: each workspace's own `generate.ts`, then the third-party notices. */
export async function run() {
  const env = await prepare('generate');
  for (const workspace of workspaces().filter(folder => existsSync(`${folder}/generate.ts`))) {
    say(`generating in ${basename(workspace)}`);
    const loader = inRoot('scripts', 'lib', 'run-typescript.mjs');
    const code = await runHere([process.execPath, '--import', loader, 'generate.ts'], { cwd: workspace, env });
    if (code !== 0) return code;
  }
  const lockfile = JSON.parse(readFileSync(inRoot('package-lock.json'), 'utf8'));
  writeFileSync(inRoot('THIRD_PARTY_NOTICES.md'), thirdPartyNotices(lockfile));
  return 0;
}
