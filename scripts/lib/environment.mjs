// @ts-check
import { accessSync, constants } from 'node:fs';
import { inRoot } from './checkout.mjs';

/**
 * The environment for tools that keep a cache in the home folder: where home is missing or read-only, their caches go to
 * the build folder.
 * @param {NodeJS.ProcessEnv} env
 * @returns {NodeJS.ProcessEnv}
 */
export function withCaches(env) {
  if (env.HOME && isWritable(env.HOME)) return env;
  return { ...env, npm_config_cache: inRoot('build', 'cache', 'npm'), XDG_CACHE_HOME: inRoot('build', 'cache') };
}

/** @param {string} folder */
function isWritable(folder) {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
