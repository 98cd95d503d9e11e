/**
 * Rotary position embedding: what config.json says of it, and the table of cosines and sines.
 *
 * transformers computes angles in f32; so do we, rounding after each of its operations, because at position 8,000 a last
 * bit of the frequency is 0.0005 of the angle. Source: modeling_rope_utils.py of transformers 5.17; types `default`,
 * `linear` and `llama3`.
 */
import { WeftError } from '@weft/contracts';
import { Fields } from '../checkpoint/fields.js';
import type { RopeConfig } from './types.js';

const DEFAULT_THETA = 10_000;
const THETA: { min: number; max: number } = { min: 1, max: 1e15 };
const FACTOR = { min: 1, max: 1e6 };
const FREQ_FACTOR = { min: 1e-6, max: 1e6 };
const POSITIONS = { min: 1, max: 2 ** 24 };

type RopeOf<T extends RopeConfig['type']> = Extract<RopeConfig, { type: T }>;
interface Common { theta: number; rotary: number }

/** One line per type: what it reads beside theta. `pretrained`: positions before scaling, where the section does not say. */
const TYPES: { [T in RopeConfig['type']]: (section: Fields, common: Common, pretrained: number) => RopeOf<T> } = {
  default: (_, common) => ({ type: 'default', ...common }),
  linear: (section, common) => ({ type: 'linear', ...common, factor: section.required('factor', section.number('factor', FACTOR)) }),
  llama3: (section, common, pretrained) => {
    const lowFreqFactor = section.required('low_freq_factor', section.number('low_freq_factor', FREQ_FACTOR));
    const highFreqFactor = section.required('high_freq_factor', section.number('high_freq_factor', FREQ_FACTOR));
    if (highFreqFactor <= lowFreqFactor) throw section.invalid('high_freq_factor', `must be greater than low_freq_factor (${lowFreqFactor})`);
    return {
      type: 'llama3', ...common, factor: section.required('factor', section.number('factor', FACTOR)), lowFreqFactor, highFreqFactor,
      originalMaxPositions: section.integer('original_max_position_embeddings', POSITIONS) ?? pretrained,
    };
  },
};

/**
 * Reads both spellings: transformers 5 has `rope_parameters` with everything in it, transformers 4 `rope_theta` beside
 * `rope_scaling` (null, or with `type` or `rope_type`). A config with both must say the same in both.
 */
export function readRope(fields: Fields, headDim: number, maxPositions: number): RopeConfig {
  const theta = fields.number('rope_theta', THETA);
  wholeHead(fields);
  // Where it stands outside, transformers prefers it to the one inside.
  const outside = fields.integer('original_max_position_embeddings', POSITIONS);
  const read = (name: string): RopeConfig | undefined => {
    const section = fields.object(name);
    return section && readSection(section, theta, headDim, outside, maxPositions);
  };
  const parameters = read('rope_parameters'), scaling = read('rope_scaling');
  if (parameters && scaling && JSON.stringify(parameters) !== JSON.stringify(scaling)) {
    throw fields.invalid('rope_scaling', `contradicts "rope_parameters" (${JSON.stringify(fields.raw('rope_parameters'))})`);
  }
  return parameters ?? scaling ?? { type: 'default', theta: theta ?? DEFAULT_THETA, rotary: headDim };
}

function readSection(section: Fields, outerTheta: number | undefined, headDim: number, outside: number | undefined, maxPositions: number): RopeConfig {
  const named = section.string('rope_type'), legacy = section.string('type');
  if (named !== undefined && legacy !== undefined && named !== legacy) throw section.invalid('type', `contradicts rope_type "${named}"`);
  const type = named ?? legacy ?? 'default';
  if (!Object.hasOwn(TYPES, type)) {
    throw section.unsupported(named === undefined ? 'type' : 'rope_type', `Weft knows ${Object.keys(TYPES).join(', ')}`);
  }
  const theta = section.number('rope_theta', THETA);
  if (theta !== undefined && outerTheta !== undefined && theta !== outerTheta) throw section.invalid('rope_theta', `contradicts the config's own rope_theta (${outerTheta})`);
  wholeHead(section);
  const rope = TYPES[type as RopeConfig['type']](section, { theta: theta ?? outerTheta ?? DEFAULT_THETA, rotary: headDim }, maxPositions);
  const [unread] = section.unread();
  if (unread !== undefined) throw section.unsupported(unread, `RoPE type "${type}" has no such field`);
  return rope.type === 'llama3' && outside !== undefined ? { ...rope, originalMaxPositions: outside } : rope;
}

/** The architectures that Weft knows rotate whole heads; transformers reads the factor only for some of their types. */
function wholeHead(fields: Fields): void {
  const factor = fields.number('partial_rotary_factor', { min: 0, max: 1 });
  if (factor !== undefined && factor !== 1) throw fields.unsupported('partial_rotary_factor', 'only 1 (whole heads) is supported');
}

const f32 = Math.fround;

/** Frequencies in radians per position, [rotary / 2], each a float32. */
export function inverseFrequencies(rope: RopeConfig): Float32Array {
  const base = f32(rope.theta);
  const frequencies = Float32Array.from({ length: rope.rotary / 2 }, (_, i) => f32(1 / f32(base ** f32(f32(2 * i) / rope.rotary))));
  if (rope.type === 'linear') return frequencies.map(frequency => f32(frequency / f32(rope.factor)));
  return rope.type === 'llama3' ? frequencies.map(frequency => stretch(frequency, rope)) : frequencies;
}

/** Llama 3: long wavelengths are divided by the factor, short ones stay, between them both are blended. */
function stretch(frequency: number, { factor, lowFreqFactor, highFreqFactor, originalMaxPositions }: RopeOf<'llama3'>): number {
  // `scalar / tensor` is reciprocal, then product, in PyTorch.
  const wavelength = f32(f32(1 / frequency) * f32(2 * Math.PI));
  if (wavelength > f32(originalMaxPositions / lowFreqFactor)) return f32(frequency / f32(factor));
  if (wavelength < f32(originalMaxPositions / highFreqFactor)) return frequency;
  const turns = f32(f32(1 / wavelength) * originalMaxPositions);
  const smooth = f32(f32(turns - f32(lowFreqFactor)) / f32(highFreqFactor - lowFreqFactor));
  return f32(f32(f32(f32(1 - smooth) * frequency) / f32(factor)) + f32(smooth * frequency));
}

/** cosSin [positions][rotary]: rotary/2 cosines, then rotary/2 sines (see op `rope`), written into `table`. */
export function fillRopeTable(rope: RopeConfig, positions: number, table: Float32Array): void {
  const { rotary } = rope, half = rotary / 2;
  if (table.length < positions * rotary) throw new WeftError('internal_error', `a RoPE table of ${positions} × ${rotary} does not fit into ${table.length} values`);
  const frequencies = inverseFrequencies(rope);
  for (let position = 0, at = 0; position < positions; position++, at += rotary) {
    for (let i = 0; i < half; i++) {
      const angle = f32(frequencies[i]! * f32(position));
      table[at + i] = Math.cos(angle);
      table[at + half + i] = Math.sin(angle);
    }
  }
}
