// @ts-check
import { prepare } from '../lib/prepare.mjs';
import { runSuite, summary, typeCheck, writeResults } from '../lib/test-suites.mjs';

const SUITES = ['unit', 'integration', 'e2e'];

/**
 * Builds, type-checks, runs the suites, and ends with one line: N passed, N failed, N skipped.
 * @param {string[]} args  --full adds the slow suite; the rest goes to vitest
 */
export async function run(args) {
  const vitestArgs = args.filter(arg => arg !== '--full');
  const suites = args.includes('--full') ? [...SUITES, 'full'] : SUITES;
  const env = await prepare('test');
  const results = [await typeCheck(env)];
  for (const suite of suites) results.push(await runSuite(suite, vitestArgs, env));
  if (process.env.WEFT_TEST_RESULTS) writeResults(process.env.WEFT_TEST_RESULTS, results);
  const { lines, failed } = summary(results);
  for (const line of lines) console.log(line);
  return failed ? 1 : 0;
}
