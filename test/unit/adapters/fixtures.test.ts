import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { End } from '@weft/kernels';
import { openSafetensors, prepareAdapter, type BaseGeometry, type TensorRef } from '@weft/adapters';
import { ARCHITECTURES, parseConfig } from '../../../libs/engine/src/models/index.js';
import { baseGeometry } from '../../../libs/engine/src/models/sites.js';
import { temporaryFolder } from './support.js';

const models = fileURLToPath(new URL('../../fixtures/models', import.meta.url));

function geometry(model: string): BaseGeometry {
  const json = JSON.parse(readFileSync(join(models, model, 'base', 'config.json'), 'utf8')) as Record<string, unknown>;
  const { architecture, config } = parseConfig(json, null, ARCHITECTURES);
  return baseGeometry(config, architecture.sites(config), [`weft-fixtures/${model}`], 'b'.repeat(64));
}

async function tensorsOf(model: string): Promise<Map<string, TensorRef>> {
  const folder = join(models, model, 'base'), files = readdirSync(folder).filter(name => name.endsWith('.safetensors'));
  const opened = await Promise.all(files.map(name => openSafetensors(join(folder, name))));
  return new Map(opened.flatMap(({ tensors }) => [...tensors]));
}

const adapters = readdirSync(models).flatMap(model => {
  const folder = join(models, model, 'adapters');
  return existsSync(folder) ? readdirSync(folder).map(name => [model, name] as const) : [];
});

describe('adapters that PEFT 0.21 saved for tiny models, and experts', () => {
  test.each(adapters)('%s/%s is valid and packs, by a geometry that came as JSON', async (model, name) => {
    const base = JSON.parse(JSON.stringify(geometry(model))) as BaseGeometry;
    const { manifest, index } = await prepareAdapter(join(models, model, 'adapters', name), base, { pageBytes: 65_536, partition: { rank: 0, size: 1 } }, temporaryFolder(), { baseTensors: await tensorsOf(model) });
    expect(manifest.warnings).toEqual([]);
    const ends = index.runs.filter(({ layer, site }) => layer === base.layers && site >= End.embedRows);
    if (manifest.kind === 'lora') expect(index.runs).toHaveLength(manifest.modules.length * 2 + ends.length);
    else expect(index.experts.map(({ layer, expert }) => [layer, expert])).toEqual(manifest.experts.map(({ layer, expert }) => [layer, expert]));
  });
});
