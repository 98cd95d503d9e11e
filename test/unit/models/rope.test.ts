import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Fields } from '../../../libs/engine/src/checkpoint/fields.js';
import { fillRopeTable, inverseFrequencies, readRope } from '../../../libs/engine/src/models/rope.js';
import type { RopeConfig } from '../../../libs/engine/src/models/types.js';

interface Case {
  name: string;
  config: { hidden_size: number; num_attention_heads: number; head_dim?: number; max_position_embeddings: number };
  inv_freq: string[]; positions: number[]; cos: number[][]; sin: number[][];
}
const cases = JSON.parse(readFileSync(new URL('../../fixtures/rope_cases.json', import.meta.url), 'utf8')) as Case[];

const ropeOf = ({ config }: Case): RopeConfig => {
  const headDim = config.head_dim ?? config.hidden_size / config.num_attention_heads;
  return readRope(new Fields('config.json', { ...config }), headDim, config.max_position_embeddings);
};
const bitsOf = (values: Float32Array): string[] => Array.from(new Uint32Array(values.buffer), word => word.toString(16).padStart(8, '0'));

describe('rope', () => {
  test.each(cases)('$name: frequencies are those of transformers, to the last bit', testCase => {
    expect(bitsOf(inverseFrequencies(ropeOf(testCase)))).toEqual(testCase.inv_freq);
  });

  test.each(cases)('$name: cosines, then sines', testCase => {
    const rope = ropeOf(testCase);
    const half = rope.rotary / 2;
    const table = new Float32Array((testCase.positions.at(-1)! + 1) * rope.rotary);
    fillRopeTable(rope, testCase.positions.at(-1)! + 1, table);
    testCase.positions.forEach((position, p) => {
      for (let i = 0; i < half; i++) {
        expect(Math.abs(table[position * rope.rotary + i]! - testCase.cos[p]![i]!)).toBeLessThan(3e-7);
        expect(Math.abs(table[position * rope.rotary + half + i]! - testCase.sin[p]![i]!)).toBeLessThan(3e-7);
      }
    });
  });

  test('a table that is too small is an error, not a truncated one', () => {
    expect(() => fillRopeTable({ type: 'default', theta: 10_000, rotary: 8 }, 3, new Float32Array(16))).toThrow('does not fit');
  });
});
