// @ts-check
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inRoot, root } from './checkout.mjs';
import { runHere } from './processes.mjs';

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
  let code = 0;
  for (const project of [root, inRoot('apps', 'console')]) code ||= await runHere([process.execPath, tsc, '--noEmit', '--project', project], { env });
  return { suite: 'types', passed: code ? 0 : 1, failed: code ? 1 : 0, skips: [], minutes: minutesSince(began) };
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
  if (!existsSync(inRoot('test', suite))) return { suite, passed: 0, failed: 0, skips: [], minutes: 0 };
  const folder = mkdtempSync(join(tmpdir(), 'weft-test-'));
  try {
    const file = join(folder, 'counts.json');
    const code = await runHere(
      [
        ...[process.execPath, inRoot('node_modules', 'vitest', 'vitest.mjs'), 'run', '--project', suite],
        ...['--reporter', 'default', '--reporter', inRoot('scripts', 'lib', 'vitest-counts.mjs'), ...args],
      ],
      { cwd: root, env: { ...env, WEFT_TEST_COUNTS: file } },
    );
    /** @type {{ passed: number, failed: number, skips: Skip[] }} */
    const counts = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { passed: 0, failed: 0, skips: [] };
    // A runner that died still is a failure.
    if (code !== 0 && counts.failed === 0) counts.failed = 1;
    return { suite, ...counts, minutes: minutesSince(began) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** @param {number} began as performance.now() */
const minutesSince = began => (performance.now() - began) / 60_000;

/**
 * Leaves results for whoever judges them, one JSON file a suite.
 * @param {string} folder
 * @param {SuiteResult[]} results
 */
export function writeResults(folder, results) {
  for (const result of results) writeFileSync(join(folder, `${result.suite}.json`), JSON.stringify(result));
}

/**
 * What is said after the last suite.
 * @param {SuiteResult[]} results
 */
export function summary(results) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  const skips = [];
  const suites = [];
  for (const result of results) {
    const { suite, passed, failed, minutes } = result;
    total.passed += passed;
    total.failed += failed;
    total.skipped += result.skips.length;
    for (const { test, reason } of result.skips) skips.push(`skipped: ${test}: ${reason || 'no reason given'}`);
    const counts = `${passed} passed, ${failed} failed, ${result.skips.length} skipped`;
    suites.push(`${suite.padEnd(12)} ${minutes.toFixed(2)} min  ${counts}`);
  }
  const last = `${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`;
  return { lines: [...skips, ...suites, last], ...total };
}
