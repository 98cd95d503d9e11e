import { readFileSync, readdirSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { filesBelow } from '../../../scripts/lib/typescript.mjs';

const root = fileURLToPath(new URL('../../..', import.meta.url));

/** What a workspace may import of the others: apps → engine → adapters → kernels, and contracts from everywhere. */
const ALLOWED: Record<string, string[]> = {
  contracts: [],
  kernels: ['contracts'],
  adapters: ['kernels', 'contracts'],
  engine: ['adapters', 'kernels', 'contracts'],
  tokenizer: ['contracts'],
  gateway: ['contracts', 'tokenizer', 'console'],
  console: [],
  executor: ['contracts', 'kernels', 'adapters', 'engine'],
  registry: ['contracts', 'adapters', 'tokenizer'],
  cli: ['contracts', 'adapters', 'kernels'],
};

interface Workspace {
  name: string;
  folder: string;
  dependencies: string[];
}

const workspaces: Workspace[] = ['libs', 'apps'].flatMap(group =>
  readdirSync(join(root, group)).map(name => {
    const folder = join(root, group, name);
    const { dependencies = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { dependencies?: object };
    return { name, folder, dependencies: Object.keys(dependencies) };
  }),
);

/** The packages that a source file imports: static, re-exported and dynamic. */
function importedPackages(text: string): string[] {
  const specifiers = text.matchAll(/(?:^|\n)\s*(?:import|export)\s[^'";]*?from\s*'([^']+)'|(?:^|\n)\s*import\s+'([^']+)'|\bimport\('([^']+)'\)/g);
  return [...specifiers]
    .map(([, a, b, c]) => (a ?? b ?? c)!)
    .filter(name => !name.startsWith('.') && !name.startsWith('node:'))
    .map(name => name.split('/').slice(0, name.startsWith('@') ? 2 : 1).join('/'));
}

test('a workspace depends only on those below it', () => {
  for (const { name, dependencies } of workspaces) {
    const ours = dependencies.filter(dependency => dependency.startsWith('@weft/')).map(dependency => dependency.slice('@weft/'.length));
    expect(ALLOWED[name], `${name} has no line in the table`).toBeDefined();
    expect(ALLOWED[name], `${name} depends on ${ours.join(', ')}`).toEqual(expect.arrayContaining(ours));
  }
});

test.each(workspaces)('all that $name imports is among its dependencies', ({ folder, dependencies }) => {
  const missing = filesBelow(join(folder, 'src'))
    .filter(file => /\.[jt]s$/.test(file))
    .flatMap(file => importedPackages(readFileSync(join(folder, 'src', file), 'utf8')).map(name => `${file} imports ${name}`))
    .filter(line => !dependencies.includes(line.split(' imports ')[1]!));
  expect(missing).toEqual([]);
});

test('builtin modules are imported with their prefix', () => {
  const bare = workspaces.flatMap(({ folder }) =>
    filesBelow(join(folder, 'src')).filter(file =>
      importedPackages(readFileSync(join(folder, 'src', file), 'utf8')).some(name => builtinModules.includes(name)),
    ),
  );
  expect(bare).toEqual([]);
});
