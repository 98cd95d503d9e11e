// @ts-check

/**
 * The table of skips that a build may have: `pattern <tab> what is missing`, one a line, # for comments.
 * @param {string} text
 * @returns {RegExp[]} each has to match a whole "file > group > name"
 */
export function parseAllowedSkips(text) {
  return text
    .split('\n')
    .filter(line => line.trim() && !line.startsWith('#'))
    .map(line => {
      const [pattern, reason] = line.split('\t');
      if (!reason?.trim()) throw new Error(`allowed-skips.txt: "${line}" states no reason after a tab`);
      return new RegExp(`^(?:${pattern})$`);
    });
}

/**
 * @param {import('./test-suites.mjs').SuiteResult[]} results
 * @param {RegExp[]} allowed
 * @param {number} status  the exit code of the run as a whole: a failure that no suite counted is still one
 */
export function judge(results, allowed, status) {
  const forbidden = results
    .flatMap(result => result.skips)
    .filter(skip => !allowed.some(pattern => pattern.test(skip.test)));
  const passed = results.reduce((sum, result) => sum + result.passed, 0);
  let failed = results.reduce((sum, result) => sum + result.failed, 0);
  if (failed === 0 && (status !== 0 || results.length === 0)) failed = 1;
  failed += forbidden.length;
  const lines = forbidden.map(({ test, reason }) => `must not be skipped here: ${test}: ${reason || 'no reason given'}`);
  return { lines: [...lines, `${passed} passed, ${failed} failed`], failed };
}
