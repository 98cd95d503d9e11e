// @ts-check
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { inRoot, root } from './checkout.mjs';
import { runHere } from './processes.mjs';

/** Where each suite's result lies, for whoever judges them: a `SuiteResult` as JSON. */
export const RESULTS = inRoot('build', 'test-results');

/**
 * @typedef {object} Skip
 * @property {string} test    "file > group > name"
 * @property {string} reason  empty when the test gave none
 */

/**
 * @typedef {object} SuiteResult
 * @property {string} suite
 * @property {number} passed
 * @property {number} failed
 * @property {Skip[]} skips
 * @property {number} minutes
 */

/**
 * The type-check of everything, as a suite of one test.
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<SuiteResult>}
 */
export async function typeCheck(env) {
  const began = performance.now();
  const tsc = inRoot('node_modules', 'typescript', 'bin', 'tsc');
  const code = await runHere([process.execPath, tsc, '--noEmit', '--project', root], { env });
  return record({ suite: 'types', passed: code ? 0 : 1, failed: code ? 1 : 0, skips: [], minutes: minutesSince(began) });
}

/**
 * One folder of test/, through vitest.
 * @param {string} suite
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<SuiteResult>}
 */
export async function runSuite(suite, args, env) {
  const began = performance.now();
  if (!existsSync(inRoot('test', suite))) return record({ suite, passed: 0, failed: 0, skips: [], minutes: 0 });
  const counts = inRoot('build', `vitest-${suite}.json`);
  rmSync(counts, { force: true });
  const code = await runHere(
    [
      ...[process.execPath, inRoot('node_modules', 'vitest', 'vitest.mjs'), 'run', '--dir', inRoot('test', suite)],
      ...['--reporter', 'default', '--reporter', inRoot('scripts', 'lib', 'vitest-counts.mjs'), ...args],
    ],
    { cwd: root, env: { ...env, WEFT_TEST_COUNTS: counts } },
  );
  /** @type {{ passed: number, failed: number, skips: Skip[] }} */
  const result = existsSync(counts) ? JSON.parse(readFileSync(counts, 'utf8')) : { passed: 0, failed: 0, skips: [] };
  // An error outside of all tests, or a runner that died, still is a failure.
  if (code !== 0 && result.failed === 0) result.failed = 1;
  return record({ suite, ...result, minutes: minutesSince(began) });
}

/** @param {number} began as performance.now() */
const minutesSince = began => (performance.now() - began) / 60_000;

/** @param {SuiteResult} result */
function record(result) {
  mkdirSync(RESULTS, { recursive: true });
  writeFileSync(`${RESULTS}/${result.suite}.json`, JSON.stringify(result, undefined, 2));
  return result;
}

/**
 * What is said after the last suite.
 * @param {SuiteResult[]} results
 */
export function summary(results) {
  const sum = (/** @type {(result: SuiteResult) => number} */ count) => results.reduce((n, result) => n + count(result), 0);
  const [passed, failed, skipped] = [sum(r => r.passed), sum(r => r.failed), sum(r => r.skips.length)];
  const skips = results.flatMap(({ skips }) => skips.map(({ test, reason }) => `skipped: ${test}: ${reason || 'no reason given'}`));
  const suites = results.map(
    r => `${r.suite.padEnd(12)} ${r.passed} passed, ${r.failed} failed, ${r.skips.length} skipped, ${r.minutes.toFixed(2)} min`,
  );
  return { lines: [...skips, ...suites, `${passed} passed, ${failed} failed, ${skipped} skipped`], passed, failed, skipped };
}
