// @ts-check
import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { root } from './checkout.mjs';

/** A vitest reporter: counts tests, and keeps why each skipped one was, which vitest's own JSON leaves out. */
export default class Counts {
  /**
   * @param {ReadonlyArray<import('vitest/node').TestModule>} modules
   * @param {ReadonlyArray<import('vitest').SerializedError>} errors  those that no test is to blame for
   */
  onTestRunEnd(modules, errors) {
    let passed = 0;
    let failed = errors.length;
    const skips = [];
    for (const module of modules) {
      const file = relative(root, module.moduleId);
      // A file that fails to load, or a hook of its own, has no test to show for it.
      failed += module.errors().length;
      for (const suite of module.children.allSuites()) failed += suite.errors().length;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === 'passed') passed++;
        else if (result.state === 'failed') failed++;
        else skips.push({ test: `${file} > ${test.fullName}`, reason: ('note' in result && result.note) || '' });
      }
    }
    const file = process.env.WEFT_TEST_COUNTS;
    if (file) writeFileSync(file, JSON.stringify({ passed, failed, skips }));
  }
}
