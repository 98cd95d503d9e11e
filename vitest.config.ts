import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import swc from 'unplugin-swc';
import { defineConfig } from 'vitest/config';
import { swcOptions } from './scripts/lib/swc-options.mjs';

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

/** `@weft/x` is the source of `libs/x` or `apps/x`: tests need no build of TypeScript and stack traces name sources. */
const sources = ['libs', 'apps'].flatMap(group =>
  readdirSync(path(group)).map(name => ({
    find: new RegExp(`^@weft/${name}$`),
    replacement: path(`${group}/${name}/src/index.ts`),
  })),
);

export default defineConfig({
  plugins: [swc.vite(swcOptions(true))],
  resolve: { alias: sources },
  test: {
    dir: path('test'),
    include: ['**/*.test.ts'],
    environment: 'node',
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 20_000,
    hookTimeout: 60_000,
    teardownTimeout: 20_000,
    passWithNoTests: true,
  },
});
