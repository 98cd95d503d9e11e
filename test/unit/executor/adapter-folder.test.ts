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
  for (const name of ['good', 'twice', 'Twice', 'bad', 'no good', '.hidden']) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'README.md'), '');
  const lines: string[] = [];
  const host = {
    addAdapter: async (path: string): Promise<LoraManifest> => {
      if (basename(path) !== 'bad') return manifest(basename(path));
      throw new AdapterRefused([{ code: 'adapter_field_unsupported', message: 'why', field: 'use_dora' }, { code: 'adapter_tensor_unclaimed', message: 'what', tensor: 'a.b' }]);
    },
  };
  const cards = await addFolder(folder, host, line => lines.push(line));
  expect(cards.filter(card => card.errors.length === 0).map(({ name, digest }) => [name, digest])).toEqual([['Twice', 'digest of Twice'], ['good', 'digest of good']]);
  expect(cards.filter(card => card.errors.length > 0).map(({ name, errors }) => [name, errors.map(({ code, field, tensor }) => [code, field, tensor])])).toEqual([
    ['bad', [['adapter_field_unsupported', 'use_dora', ''], ['adapter_tensor_unclaimed', '', 'a.b']]], ['no good', [['invalid_value', 'name', '']]], ['twice', [['conflict', 'name', '']]],
  ]);
  expect(lines).toContain('refused adapter bad: adapter_field_unsupported · field use_dora · why');
});

test('a bug is not a refusal', async () => {
  mkdirSync(join(folder, 'x'));
  await expect(addFolder(folder, { addAdapter: async () => { throw new TypeError('bug'); } }, () => undefined)).rejects.toThrow(TypeError);
});

test('a folder that is not there is an option that is wrong', async () => {
  await expect(addFolder(join(folder, 'none'), { addAdapter: async () => manifest('x') }, () => undefined)).rejects.toMatchObject({ code: 'option_invalid', details: { field: 'adapters' } });
});
