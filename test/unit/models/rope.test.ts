import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Fields } from '../../../libs/engine/src/checkpoint/fields.js';
import { ARCHITECTURES } from '../../../libs/engine/src/models/index.js';
import { fillRopeTable, inverseFrequencies, readRope } from '../../../libs/engine/src/models/rope.js';
import type { RopeConfig } from '../../../libs/engine/src/models/types.js';

interface Case {
  name: string; model?: 'phi3' | 'gemma3'; layers?: string;
  config: { hidden_size: number; num_attention_heads: number; head_dim?: number; max_position_embeddings: number };
  inv_freq: string[]; positions: number[]; cos: number[][]; sin: number[][];
}
const cases = JSON.parse(readFileSync(new URL('../../fixtures/rope_cases.json', import.meta.url), 'utf8')) as Case[];

const MODELS = { phi3: 'Phi3ForCausalLM', gemma3: 'Gemma3ForCausalLM' };
const ropeOf = ({ config, model, layers }: Case): RopeConfig => {
  const headDim = config.head_dim ?? config.hidden_size / config.num_attention_heads;
  const fields = new Fields('config.json', { ...config });
  if (!model) return readRope(fields, headDim, config.max_position_embeddings);
  const { rope, localRope } = ARCHITECTURES.find(({ name }) => name === MODELS[model])!.rope!(fields, headDim, config.max_position_embeddings);
  return layers === 'sliding_attention' ? localRope! : rope;
};
const bitsOf = (values: Float32Array): string[] => Array.from(new Uint32Array(values.buffer), word => word.toString(16).padStart(8, '0'));

/** PyTorch's powers are not always those that are nearest: where theirs and ours differ, it is the last bit. */
const LAST_BIT = new Set(['phi, long factors', 'phi, the old name', 'phi, within what was pretrained', 'yarn, betas and an untruncated ramp']);

describe('rope', () => {
  test.each(cases)('$name: frequencies are those of transformers, to the last bit', testCase => {
    const ours = bitsOf(inverseFrequencies(ropeOf(testCase), testCase.positions.at(-1)! + 1));
    if (!LAST_BIT.has(testCase.name)) return expect(ours).toEqual(testCase.inv_freq);
    const off = ours.map((bits, i) => Math.abs(parseInt(bits, 16) - parseInt(testCase.inv_freq[i]!, 16)));
    expect(ours).toHaveLength(testCase.inv_freq.length);
    expect(Math.max(...off)).toBe(1);
  });

  test.each(cases)('$name: cosines, then sines', testCase => {
    const rope = ropeOf(testCase);
    const half = rope.rotary / 2, tolerance = LAST_BIT.has(testCase.name) ? 1e-4 : 3e-7;
    const table = new Float32Array((testCase.positions.at(-1)! + 1) * rope.rotary);
    fillRopeTable(rope, testCase.positions.at(-1)! + 1, table);
    testCase.positions.forEach((position, p) => {
      for (let i = 0; i < half; i++) {
        expect(Math.abs(table[position * rope.rotary + i]! - testCase.cos[p]![i]!)).toBeLessThan(tolerance);
        expect(Math.abs(table[position * rope.rotary + half + i]! - testCase.sin[p]![i]!)).toBeLessThan(tolerance);
      }
    });
  });

  test('a table that is too small is an error, not a truncated one', () => {
    expect(() => fillRopeTable({ type: 'default', theta: 10_000, rotary: 8 }, 3, new Float32Array(16))).toThrow('does not fit');
  });
});
