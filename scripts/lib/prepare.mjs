// @ts-check
import { inRoot, root } from './checkout.mjs';
import { Runners, withLock } from './checkout-lock.mjs';
import { buildConsole } from './console.mjs';
import { withCaches } from './environment.mjs';
import { install, isInstalled } from './install.mjs';
import { buildNative } from './native.mjs';
import { findPrebuilt, usePrebuilt } from './prebuilt.mjs';
import { findCompiler } from './requirements.mjs';
import { buildTypeScript } from './typescript.mjs';

/** Set for everything that runs from a prepared checkout: a command started by a test must not wait for its own parent. */
const PREPARED = 'WEFT_PREPARED_CHECKOUT';

export const runners = new Runners(inRoot('build', 'running'));

/**
 * Installs and builds whatever is stale, then announces what this process runs from it.
 * @param {'serve' | 'test' | 'build' | 'native' | 'generate'} purpose  "native" leaves TypeScript alone, "generate" the
 *   native code, whose headers may be what is generated
 * @returns {Promise<NodeJS.ProcessEnv>} the environment for what runs next
 */
export async function prepare(purpose) {
  if (process.env[PREPARED] === root) return process.env;
  // Tests and benches have programs of their own to compile.
  const prebuilt = purpose === 'serve' || purpose === 'build' ? findPrebuilt(process.env) : undefined;
  const compiler = prebuilt === undefined ? findCompiler() : undefined;
  const env = withCaches(process.env);
  await withLock(inRoot('build', 'prepare.lock'), purpose, async () => {
    /** @type {Promise<void> | undefined} */
    let waited;
    const waitForTests = () => (waited ??= runners.waitForTests());

    const installed = isInstalled() ? Promise.resolve() : waitAndInstall(waitForTests, env);
    await allDone([
      purpose === 'generate' ? installed : compiler ? buildNative(compiler, installed, waitForTests) : usePrebuilt(/** @type {string} */ (prebuilt), waitForTests),
      purpose === 'native' ? installed : installed.then(() => buildTypeScript(waitForTests)),
      purpose === 'native' || purpose === 'generate' ? installed : installed.then(() => buildConsole(waitForTests)),
    ]);
    if (purpose === 'serve' || purpose === 'test') runners.announce(purpose);
  });
  return { ...env, [PREPARED]: root };
}

/**
 * @param {() => Promise<void>} waitForTests
 * @param {NodeJS.ProcessEnv} env
 */
async function waitAndInstall(waitForTests, env) {
  runners.refuseIfServing();
  await waitForTests();
  await install(env);
}

/** Like Promise.all, but fails only when nothing is left running: whoever holds the lock next finds no stray npm. */
async function allDone(/** @type {Promise<void>[]} */ promises) {
  for (const result of await Promise.allSettled(promises)) if (result.status === 'rejected') throw result.reason;
}
