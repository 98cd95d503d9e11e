// @ts-check
// Each workspace's src/ becomes its dist/, file by file: TypeScript through SWC, everything else copied as it is.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { inRoot, say } from './checkout.mjs';
import { swcOptions } from './swc-options.mjs';

const isDeclaration = (/** @type {string} */ file) => file.endsWith('.d.ts');
const isTypeScript = (/** @type {string} */ file) => file.endsWith('.ts') && !isDeclaration(file);

/**
 * All files below a folder, as sorted relative paths.
 * @param {string} folder
 */
export function filesBelow(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
}

/**
 * One hash over names and contents.
 * @param {Map<string, Buffer>} files
 * @param {string} salt  whatever else the outcome depends on
 */
export function contentHash(files, salt) {
  const hash = createHash('sha256').update(salt);
  for (const [name, content] of files) hash.update(`\0${name}\0${content.length}\0`).update(content);
  return hash.digest('hex');
}

/** Workspaces as absolute paths. */
export function workspaces() {
  return ['libs', 'apps']
    .flatMap(group => readdirSync(inRoot(group)).map(name => inRoot(group, name)))
    .filter(folder => existsSync(join(folder, 'package.json')));
}

/**
 * Builds the workspaces whose sources changed.
 * @param {() => Promise<void>} beforeReplacing  awaited once before the first file changes
 */
export async function buildTypeScript(beforeReplacing) {
  const { transform, version } = await import('@swc/core');
  const options = swcOptions(true);
  const salt = `${version} ${JSON.stringify(options)}`;

  /** @param {string} workspace */
  const build = async workspace => {
    const src = join(workspace, 'src');
    const dist = join(workspace, 'dist');
    const stamp = join(dist, '.hash');
    const names = filesBelow(src).filter(file => !isDeclaration(file));
    const sources = new Map(names.map(name => [name, readFileSync(join(src, name))]));
    const hash = contentHash(sources, salt);
    if (existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return false;
    /** @type {Map<string, string | Buffer>} */
    const outputs = new Map();
    for (const [name, content] of sources) {
      if (!isTypeScript(name)) {
        outputs.set(name, content);
        continue;
      }
      const out = name.replace(/\.ts$/, '.js');
      const { code, map = '' } = await transform(content.toString(), {
        ...options,
        filename: join(src, name),
        sourceFileName: relative(dirname(join(dist, out)), join(src, name)),
      });
      outputs.set(out, `${code}//# sourceMappingURL=${basename(out)}.map\n`).set(`${out}.map`, map);
    }
    await beforeReplacing();
    rmSync(stamp, { force: true });
    for (const [file, content] of outputs) replace(join(dist, file), content);
    for (const file of filesBelow(dist)) if (!outputs.has(file)) rmSync(join(dist, file));
    replace(stamp, hash);
    return true;
  };

  const began = performance.now();
  // What runs in a browser is bundled (console.mjs).
  const built = await Promise.all(workspaces().filter(workspace => !existsSync(join(workspace, 'vite.config.js'))).map(build));
  const count = built.filter(Boolean).length;
  if (count) say(`compiled TypeScript of ${count} workspaces in ${((performance.now() - began) / 1000).toFixed(1)} s`);
}

/** A reader sees the old file or the new one, never half of it. */
function replace(/** @type {string} */ file, /** @type {string | Buffer} */ content) {
  mkdirSync(dirname(file), { recursive: true });
  const temporary = `${file}.${process.pid}.tmp`;
  writeFileSync(temporary, content);
  renameSync(temporary, file);
}
