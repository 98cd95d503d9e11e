import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { AdapterRefused, type LoraManifest } from '@weft/adapters';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { addFolder } from '../../../apps/executor/src/adapter-folder.js';

let folder: string;
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'weft-adapters-')); });
afterEach(() => rmSync(folder, { recursive: true }));

const manifest = (name: string): LoraManifest => ({ kind: 'lora', digest: `digest of ${name}`, rank: 4, targetModules: ['q_proj'], bytes: 10, warnings: [] } as unknown as LoraManifest);

test('folders are served by name; what is refused says where, and is never served', async () => {
  for (const name of ['good', 'twice', 'Twice', 'base', 'bad', 'no good', '.hidden']) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'README.md'), '');
  const lines: string[] = [];
  const host = {
    addAdapter: async (path: string): Promise<LoraManifest> => {
      if (basename(path) !== 'bad') return manifest(basename(path));
      throw new AdapterRefused([{ code: 'adapter_field_unsupported', message: 'why', field: 'use_dora' }, ...['a.b', 'c.d', 'e.f'].map(tensor => ({ code: 'adapter_tensor_unclaimed' as const, message: `what of ${tensor}`, tensor }))]);
    },
  };
  const cards = await addFolder(folder, host, 'Base', line => lines.push(line));
  expect(cards.filter(card => card.errors.length === 0).map(({ name, digest }) => [name, digest])).toEqual([['Twice', 'digest of Twice'], ['good', 'digest of good']]);
  expect(cards.filter(card => card.errors.length > 0).map(({ name, errors }) => [name, errors.map(({ code, field, tensor }) => [code, field, tensor])])).toEqual([
    ['bad', [['adapter_field_unsupported', 'use_dora', ''], ...['a.b', 'c.d', 'e.f'].map(tensor => ['adapter_tensor_unclaimed', '', tensor])]], ['base', [['conflict', 'name', '']]], ['no good', [['invalid_value', 'name', '']]], ['twice', [['conflict', 'name', '']]],
  ]);
  expect(lines.filter(line => line.includes('bad'))).toEqual([
    'refused adapter bad: adapter_field_unsupported · field use_dora · why', 'refused adapter bad: adapter_tensor_unclaimed · what of a.b',
    'refused adapter bad: adapter_tensor_unclaimed · what of c.d', 'refused adapter bad: and 1 more',
  ]);
  expect(lines).toContain('refused adapter base: conflict · field name · the base model has this name; rename the folder');
});

test('a bug is not a refusal', async () => {
  mkdirSync(join(folder, 'x'));
  await expect(addFolder(folder, { addAdapter: async () => { throw new TypeError('bug'); } }, undefined, () => undefined)).rejects.toThrow(TypeError);
});

test('a folder that is not there is an option that is wrong', async () => {
  await expect(addFolder(join(folder, 'none'), { addAdapter: async () => manifest('x') }, undefined, () => undefined)).rejects.toMatchObject({ code: 'option_invalid', details: { field: 'adapters' } });
});
