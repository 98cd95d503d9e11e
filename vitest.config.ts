import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import swc from 'unplugin-swc';
import { defineConfig, type TestProjectConfiguration } from 'vitest/config';
import { swcOptions } from './scripts/lib/swc-options.mjs';

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

/** `@weft/x` is the source of `libs/x` or `apps/x`: tests need no build of TypeScript and stack traces name sources. */
const sources = ['libs', 'apps'].flatMap(group =>
  readdirSync(path(group)).map(name => ({
    find: new RegExp(`^@weft/${name}$`),
    replacement: path(`${group}/${name}/src/index.ts`),
  })),
);

/**
 * A folder of test/. Only unit tests run beside one another: the others start servers, and what they measure and time
 * out on must not depend on their neighbours. Suites run one after another.
 */
function suite(name: string, order: number, testTimeoutMs: number): TestProjectConfiguration {
  return {
    extends: true,
    test: {
      name,
      dir: path(`test/${name}`),
      testTimeout: testTimeoutMs,
      hookTimeout: 3 * testTimeoutMs,
      maxWorkers: order === 0 ? 2 : 1,
      sequence: { groupOrder: order },
    },
  };
}

export default defineConfig({
  // SWC, not esbuild: Nest's injection needs the metadata of decorated constructors.
  plugins: [swc.vite(swcOptions(true))],
  resolve: { alias: sources },
  test: {
    include: ['**/*.test.ts'],
    environment: 'node',
    pool: 'forks',
    teardownTimeout: 20_000,
    passWithNoTests: true,
    projects: [suite('unit', 0, 20_000), suite('integration', 1, 60_000), suite('e2e', 2, 180_000), suite('full', 3, 600_000)],
  },
});
