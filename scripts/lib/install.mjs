// @ts-check
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { inRoot, root, say } from './checkout.mjs';
import { Problem } from './problem.mjs';
import { capture } from './processes.mjs';

/** Inside node_modules, so that it goes when they go, and an interrupted install leaves none. */
const STAMP = inRoot('node_modules', '.weft-stamp');

/**
 * What the installed packages depend on. Equal stamps mean equal node_modules.
 * @param {string | Buffer} lockfile
 * @param {{ modules: string, platform: string, arch: string }} host  `modules` is Node's ABI version
 */
export function installStamp(lockfile, { modules, platform, arch }) {
  const hash = createHash('sha256').update(lockfile).digest('hex');
  return `${hash} abi-${modules} ${platform}-${arch}`;
}

const currentStamp = () =>
  installStamp(readFileSync(inRoot('package-lock.json')), {
    modules: process.versions.modules,
    platform: process.platform,
    arch: process.arch,
  });

export const isInstalled = () => existsSync(STAMP) && readFileSync(STAMP, 'utf8') === currentStamp();

/**
 * Installs exactly what the lockfile says, tools included: they build and test.
 * @param {NodeJS.ProcessEnv} env
 */
export async function install(env) {
  const stamp = currentStamp();
  say('installing dependencies');
  // Warnings would only repeat that some packages ask for a newer Node than they need.
  const { code, output } = await capture([...npm(), 'ci', '--include=dev', '--loglevel=error'], { cwd: root, env });
  if (code !== 0) throw new Problem(`npm ci failed with exit code ${code}:\n${output.trim()}`);
  writeFileSync(STAMP, stamp);
}

/** The npm that runs this script, or the one on the path. */
function npm() {
  const running = process.env.npm_execpath;
  return running && basename(running) === 'npm-cli.js' ? [process.execPath, running] : ['npm'];
}
