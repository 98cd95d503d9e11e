import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { prepareAdapter } from '@weft/adapters';
import { llama, SHARED, SMOLLM2, SMOLLM2_PAGE_BYTES, temporaryFolder } from './support.js';

const folder = join(SHARED, 'models', 'adapters');
const there = existsSync(folder);

const pages = { pageBytes: SMOLLM2_PAGE_BYTES, partition: { rank: 0, size: 1 } };

describe('adapters that PEFT trained on SmolLM2', () => {
  beforeEach(ctx => ctx.skip(!there, `no real adapters at ${folder} (set WEFT_SHARED)`));

  test.each([
    ['ticket-router', 8, 60], ['contact-json', 16, 210], ['text-to-sql', 32, 210], ['pirate', 64, 120], ['shout', 20, 90],
  ])('%s is valid without a warning and packs', async (name, rank, modules) => {
    const { manifest, index } = await prepareAdapter(join(folder, name), llama(SMOLLM2), pages, temporaryFolder());
    expect(manifest.warnings).toEqual([]);
    expect(manifest.rank).toBe(rank);
    expect(manifest).toMatchObject({ kind: 'lora', modules: { length: modules } });
    expect(index.runs).toHaveLength(2 * modules);
  });

  test('ticket-router-dora is valid, and is packed by the weights of the base', async () => {
    await expect(prepareAdapter(join(folder, 'ticket-router-dora'), llama(SMOLLM2), pages, temporaryFolder()))
      .rejects.toMatchObject({ code: 'adapter_tensor_unclaimed', details: { tensor: expect.stringContaining('lora_magnitude_vector') as string } });
  });
});
