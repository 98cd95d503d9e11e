/** Random PEFT LoRA adapters on every linear module of a base, of ranks 8, 16, 32 and 64 in turn: for us and for the peers. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { placesOf, type BaseGeometry } from '@weft/adapters';

const RANKS = [8, 16, 32, 64];
export const rankOf = (adapter: number): number => RANKS[adapter % RANKS.length]!;
/** Size of scale · B·A beside weights of an assumed deviation of 1 / sqrt(inputs): answers differ, and nobody can skip the work. */
const SHARE = 0.05;

/** Writes `count` folders below `out` and answers with their paths. Seeded: the same bytes every time, but for DoRA's magnitudes. */
export function makeAdapters(base: BaseGeometry, out: string, count: number, { dora = false } = {}): string[] {
  return Array.from({ length: count }, (_, i) => {
    const folder = join(out, `bench-${String(i).padStart(2, '0')}`), rank = rankOf(i);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'adapter_model.safetensors'), tensorsOf(base, rank, i, dora));
    writeFileSync(join(folder, 'adapter_config.json'), `${JSON.stringify(configOf(base, rank, dora), null, 2)}\n`);
    return folder;
  });
}

function configOf(base: BaseGeometry, rank: number, dora: boolean): object {
  return {
    peft_type: 'LORA', task_type: 'CAUSAL_LM', base_model_name_or_path: base.names[0], r: rank, lora_alpha: rank, lora_dropout: 0, bias: 'none',
    fan_in_fan_out: false, inference_mode: true, init_lora_weights: true, target_modules: base.sites.map(site => site.module.split('.').at(-1)!),
    modules_to_save: null, use_rslora: false, use_dora: dora, rank_pattern: {}, alpha_pattern: {},
  };
}

function tensorsOf(base: BaseGeometry, rank: number, seed: number, dora: boolean): Buffer {
  const header: Record<string, object> = { __metadata__: { format: 'pt' } };
  const parts: Uint16Array[] = [];
  const random = new Uniform(seed + 1);
  let offset = 0;
  const add = (name: string, shape: number[], deviation: number): void => {
    const values = random.bf16(shape.reduce((a, b) => a * b), deviation);
    header[`base_model.model.${name}`] = { dtype: 'BF16', shape, data_offsets: [offset, offset += values.byteLength] };
    parts.push(values);
  };
  for (const { site, path } of placesOf(base)) {
    add(`${path}.lora_A.weight`, [rank, site.dIn], site.dIn ** -0.5);
    add(`${path}.lora_B.weight`, [site.dOut, rank], SHARE * rank ** -0.5);
    if (dora) add(`${path}.lora_magnitude_vector`, [site.dOut], 1);
  }
  const text = Buffer.from(JSON.stringify(header)), length = Buffer.alloc(8);
  const padded = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, ' ')]);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, padded, ...parts.map(p => Buffer.from(p.buffer))]);
}

/** Uniform values of a deviation, as bf16 (xorshift32). */
class Uniform {
  #state: number;
  constructor(seed: number) { this.#state = Math.imul(seed, 2654435761) >>> 0 || 1; }
  bf16(count: number, deviation: number): Uint16Array {
    const values = new Uint16Array(count), one = new Float32Array(1), word = new Uint32Array(one.buffer);
    for (let i = 0; i < count; i++) {
      let x = this.#state;
      x ^= x << 13; x ^= x >>> 17; x ^= x << 5;
      this.#state = x >>> 0;
      one[0] = (this.#state / 2 ** 31 - 1) * deviation * Math.sqrt(3);
      values[i] = word[0]! >>> 16;
    }
    return values;
  }
}
