/** The executor's services on a tiny model, with adapters from an ArtifactStore. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createEngine } from '@weft/engine';
import { Artifacts } from '../../../apps/executor/src/artifacts.js';
import { ColdStarts } from '../../../apps/executor/src/cold-starts.js';
import { readConfig } from '../../../apps/executor/src/config.js';
import { EngineService } from '../../../apps/executor/src/engine.service.js';
import type { RegistryClient } from '../../../apps/executor/src/registry-client.js';
import { ArtifactStore } from './registry.js';

export const TINY = join(import.meta.dirname, '../../fixtures/models/llama-tiny');

export class Serving {
  readonly store = new ArtifactStore();
  readonly dataDir = mkdtempSync(join(tmpdir(), 'weft-executor-'));
  engine!: EngineService;
  artifacts!: Artifacts;
  coldStarts!: ColdStarts;

  /** Again: a second start on the same data. */
  async open(): Promise<this> {
    const config = readConfig({
      WEFT_LINK_TOKEN: 'token', WEFT_MODEL: join(TINY, 'base'), WEFT_MODEL_NAME: 'tiny', WEFT_DATA_DIR: this.dataDir, WEFT_THREADS: '1',
      WEFT_POOL_BYTES: String(8 * 2 ** 20), WEFT_REGISTRY_ADDRESS: '127.0.0.1:1',
    });
    this.engine = new EngineService(config, 'executor', createEngine);
    await this.engine.open(() => undefined);
    this.artifacts = new Artifacts(config, this.engine, this.store as unknown as RegistryClient);
    this.coldStarts = new ColdStarts(this.engine, this.artifacts);
    await this.artifacts.cleanUp();
    return this;
  }
  async close(): Promise<void> {
    await this.engine.close();
    rmSync(this.dataDir, { recursive: true, force: true });
  }

  get leftovers(): string[] { return readdirSync(join(this.dataDir, 'fetched')); }
  get images(): string[] { return readdirSync(join(this.dataDir, 'adapters'), { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.image')); }
}

/** A fixture adapter's files. */
export function filesOf(name: string): Record<string, Buffer> {
  const folder = join(TINY, 'adapters', name);
  return Object.fromEntries(readdirSync(folder).map(file => [file, readFileSync(join(folder, file))]));
}

/** The same adapter with every value of every B multiplied: too small to change a bit, or too large to stay finite. */
export function withB(name: string, factor: number): Record<string, Uint8Array> {
  const files = filesOf(name), weights = Buffer.from(files['adapter_model.safetensors']!);
  const headerBytes = Number(weights.readBigUInt64LE());
  const header = JSON.parse(weights.toString('utf8', 8, 8 + headerBytes)) as Record<string, { data_offsets: [number, number] }>;
  for (const [tensor, { data_offsets: offsets }] of Object.entries(header)) {
    if (!tensor.includes('lora_B')) continue;
    for (let at = offsets[0]; at < offsets[1]; at += 4) {
      const place = 8 + headerBytes + at;
      weights.writeFloatLE(weights.readFloatLE(place) * factor, place);
    }
  }
  return { ...files, 'adapter_model.safetensors': weights };
}
