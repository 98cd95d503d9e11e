// @ts-check
// The console's src/ becomes the static files of its dist/, which the gateway serves.
import { existsSync, readFileSync, rmSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inRoot, say } from './checkout.mjs';
import { contentHash, filesBelow } from './typescript.mjs';

const CONSOLE = inRoot('apps', 'console');
const DIST = join(CONSOLE, 'dist');

/**
 * Bundles the console if its sources or a package changed.
 * @param {() => Promise<void>} beforeReplacing  awaited before the first file changes
 */
export async function buildConsole(beforeReplacing) {
  const names = ['index.html', 'package.json', 'vite.config.js', ...filesBelow(join(CONSOLE, 'src')).map(name => join('src', name))];
  const sources = new Map(names.map(name => [name, readFileSync(join(CONSOLE, name))]));
  const hash = contentHash(sources, readFileSync(inRoot('package-lock.json'), 'utf8'));
  const stamp = join(DIST, '.hash');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return;
  const began = performance.now();
  const { build } = await import('vite');
  const fresh = join(CONSOLE, 'build');
  await build({ root: CONSOLE, logLevel: 'warn', build: { outDir: fresh, emptyOutDir: true } });
  writeFileSync(join(fresh, '.hash'), hash);
  await beforeReplacing();
  rmSync(DIST, { recursive: true, force: true });
  renameSync(fresh, DIST);
  say(`bundled the console in ${((performance.now() - began) / 1000).toFixed(1)} s`);
}
