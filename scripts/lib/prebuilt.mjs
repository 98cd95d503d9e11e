// @ts-check
// Addons that were built elsewhere: used where they carry the stamp of this checkout's sources, so that a machine without
// a compiler can start. Looked for in this order:
//
//   WEFT_KERNELS_PREBUILT=FILE
//   libs/kernels/prebuilt/PLATFORM/weft_kernels.node
//   the package @weft/kernels-PLATFORM
//
// PLATFORM is linux-x64, linux-arm64-musl, darwin-arm64, …: `npm run build -- --prebuilt FOLDER` makes one.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { inRoot, say } from './checkout.mjs';
import { ADDON, sourceStamp } from './native.mjs';

export function platformName() {
  if (process.platform !== 'linux') return `${process.platform}-${process.arch}`;
  const { header } = /** @type {{ header: { glibcVersionRuntime?: string } }} */ (process.report.getReport());
  return `linux-${process.arch}${header.glibcVersionRuntime ? '' : '-musl'}`;
}

/**
 * Those that exist.
 * @param {NodeJS.ProcessEnv} env
 * @returns {string[]}
 */
export function prebuiltFiles(env) {
  const named = env.WEFT_KERNELS_PREBUILT, platform = platformName();
  return [...(named ? [named] : []), inRoot('libs', 'kernels', 'prebuilt', platform, ADDON), ...packaged(`@weft/kernels-${platform}`)]
    .filter(file => file === named || existsSync(file));
}

/** @param {string} name of a package */
function packaged(name) {
  try {
    return [join(dirname(createRequire(inRoot('package.json')).resolve(`${name}/package.json`)), ADDON)];
  } catch {
    return []; // not installed
  }
}

/**
 * The first that loads here and was built from this checkout's sources; it is said of the others why they are not used.
 * @param {NodeJS.ProcessEnv} env
 * @returns {string | undefined}
 */
export function findPrebuilt(env) {
  const wanted = sourceStamp();
  return prebuiltFiles(env).find(file => {
    const problem = problemOf(file, wanted);
    if (problem) say(`prebuilt kernels ${file} are not used: ${problem}`);
    return !problem;
  });
}

/**
 * Loaded in a process of its own: what does not fit may end it.
 * @param {string} file
 * @param {string} wanted
 * @returns {string | undefined}
 */
export function problemOf(file, wanted) {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, ['-p', 'require(require("node:path").resolve(process.argv[1])).stamp', file], { encoding: 'utf8' });
  if (status !== 0) return `they can't be loaded (${/^\w*Error: (.*)$/m.exec(stderr)?.[1] ?? signal ?? `code ${status}`})`;
  const found = stdout.trim();
  return found === wanted ? undefined : `they were built from other sources (${found}; these are ${wanted})`;
}

/**
 * Puts one in the place of what would be compiled.
 * @param {string} file
 * @param {() => Promise<void>} beforeReplacing  awaited before a file that others may be using changes
 */
export async function usePrebuilt(file, beforeReplacing) {
  const target = inRoot('libs', 'kernels', 'build', ADDON), stamp = `${target}.stamp`, content = `prebuilt ${sourceStamp()}`;
  if (existsSync(target) && existsSync(stamp) && readFileSync(stamp, 'utf8') === content) return;
  await beforeReplacing();
  say(`using the prebuilt kernels ${file}`);
  mkdirSync(dirname(target), { recursive: true });
  rmSync(stamp, { force: true });
  copyFileSync(file, `${target}.${process.pid}.tmp`);
  renameSync(`${target}.${process.pid}.tmp`, target);
  writeFileSync(stamp, content);
}

/**
 * A copy of `file` where others look for it below a folder.
 * @param {string} file
 * @param {string} folder
 * @returns {string}
 */
export function publishPrebuilt(file, folder) {
  const target = join(folder, platformName(), ADDON);
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(file, target);
  return target;
}
