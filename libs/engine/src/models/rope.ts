/**
 * Rotary position embedding: what config.json says of it, and the table of cosines and sines.
 *
 * transformers computes angles in f32; so do we, rounding after each of its operations, because at position 8,000 a last
 * bit of the frequency is 0.0005 of the angle. Source: modeling_rope_utils.py of transformers 5.17; types `default`,
 * `linear`, `llama3`, `yarn` and `longrope`.
 */
import { WeftError } from '@weft/contracts';
import { Fields } from '../checkpoint/fields.js';
import type { RopeConfig } from './types.js';

const DEFAULT_THETA = 10_000;
const THETA: { min: number; max: number } = { min: 1, max: 1e15 };
const FACTOR = { min: 1, max: 1e6 };
const ATTENTION_FACTOR = { min: 1e-3, max: 1e3 };
const FREQ_FACTOR = { min: 1e-6, max: 1e6 };
const MSCALE = { min: 0, max: 1e3 };
const BETA = { min: 0, max: 1e6 };
const POSITIONS = { min: 1, max: 2 ** 24 };

/** How much longer a context of `factor` times the length makes queries or keys, weighed by `mscale`. */
export const yarnScale = (factor: number, mscale: number): number => (factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1);

type RopeOf<T extends RopeConfig['type']> = Extract<RopeConfig, { type: T }>;
interface Common { theta: number; rotary: number }

/** What an architecture has of its own. */
export interface RopeRules {
  /** Only part of a head may turn: `partial_rotary_factor`. */
  partial?: boolean;
  /** Other names of types. */
  aliases?: Readonly<Record<string, RopeConfig['type']>>;
  /** Positions before scaling, where the config's own `original_max_position_embeddings` is missing: no section is asked. */
  originalMaxPositions?: number;
  theta?: number | undefined;
}

/** `original`: positions before scaling, where it stands outside of the section: transformers prefers it. `max`: after. */
interface Positions { original: number | undefined; max: number; rules: RopeRules }

function originalOf(section: Fields, { original, max, rules }: Positions): number {
  const own = section.integer('original_max_position_embeddings', POSITIONS);
  if (rules.originalMaxPositions !== undefined && own !== undefined && own !== original) {
    throw section.invalid('original_max_position_embeddings', `contradicts the config's own original_max_position_embeddings (${original}), which decides`);
  }
  return original ?? own ?? max;
}

/** One line per type: what it reads beside theta. */
const TYPES: { [T in RopeConfig['type']]: (section: Fields, common: Common, positions: Positions) => RopeOf<T> } = {
  default: (_, common) => ({ type: 'default', ...common }),
  linear: (section, common) => ({ type: 'linear', ...common, factor: section.required('factor', section.number('factor', FACTOR)) }),
  llama3: (section, common, positions) => {
    const lowFreqFactor = section.required('low_freq_factor', section.number('low_freq_factor', FREQ_FACTOR));
    const highFreqFactor = section.required('high_freq_factor', section.number('high_freq_factor', FREQ_FACTOR));
    if (highFreqFactor <= lowFreqFactor) throw section.invalid('high_freq_factor', `must be greater than low_freq_factor (${lowFreqFactor})`);
    return {
      type: 'llama3', ...common, factor: section.required('factor', section.number('factor', FACTOR)), lowFreqFactor, highFreqFactor,
      originalMaxPositions: originalOf(section, positions),
    };
  },
  yarn: (section, common, positions) => {
    const originalMaxPositions = originalOf(section, positions);
    const factor = section.number('factor', FACTOR) ?? positions.max / originalMaxPositions;
    const mscale = section.number('mscale', MSCALE) ?? 0, mscaleAllDim = section.number('mscale_all_dim', MSCALE) ?? 0;
    const attentionFactor = section.number('attention_factor', ATTENTION_FACTOR)
      ?? (mscale > 0 && mscaleAllDim > 0 ? yarnScale(factor, mscale) / yarnScale(factor, mscaleAllDim) : yarnScale(factor, 1));
    return {
      type: 'yarn', ...common, factor, attentionFactor, mscaleAllDim, originalMaxPositions,
      // 0 is none, as in transformers.
      betaFast: section.number('beta_fast', BETA) || 32, betaSlow: section.number('beta_slow', BETA) || 1, truncate: section.boolean('truncate') ?? true,
    };
  },
  longrope: (section, common, positions) => {
    const factors = (field: string): number[] => {
      const list = section.required(field, section.list(field));
      if (list.length !== common.rotary / 2) throw section.invalid(field, `must have ${common.rotary / 2} numbers, one for each pair that turns`);
      if (!list.every((factor): factor is number => typeof factor === 'number' && factor >= FREQ_FACTOR.min && factor <= FREQ_FACTOR.max)) throw section.invalid(field, 'must hold numbers above 0');
      return list;
    };
    const short = factors('short_factor'), long = factors('long_factor');
    const originalMaxPositions = originalOf(section, positions);
    const stretch = section.number('factor', FACTOR) ?? positions.max / originalMaxPositions;
    const attentionFactor = section.number('attention_factor', ATTENTION_FACTOR)
      ?? (stretch <= 1 ? 1 : Math.sqrt(1 + Math.log(stretch) / Math.log(originalMaxPositions)));
    if (!Number.isFinite(attentionFactor)) throw section.invalid('original_max_position_embeddings', 'must be above 1 where attention_factor is missing');
    return { type: 'longrope', ...common, short, long, attentionFactor, originalMaxPositions };
  },
};

/**
 * Reads both spellings: transformers 5 has `rope_parameters` with everything in it, transformers 4 `rope_theta` beside
 * `rope_scaling` (null, or with `type` or `rope_type`). A config with both must say the same in both.
 */
export function readRope(fields: Fields, headDim: number, maxPositions: number, rules: RopeRules = {}): RopeConfig {
  const theta = fields.number('rope_theta', THETA);
  const factor = readPart(fields, rules);
  const outside = fields.integer('original_max_position_embeddings', POSITIONS) ?? rules.originalMaxPositions;
  const read = (name: string): RopeConfig | undefined => {
    const section = fields.object(name);
    return section && readSection(section, { theta, factor, headDim, outside, maxPositions, rules });
  };
  const parameters = read('rope_parameters'), scaling = read('rope_scaling');
  if (parameters && scaling && JSON.stringify(parameters) !== JSON.stringify(scaling)) {
    throw fields.invalid('rope_scaling', `contradicts "rope_parameters" (${JSON.stringify(fields.raw('rope_parameters'))})`);
  }
  return parameters ?? scaling ?? { type: 'default', theta: theta ?? rules.theta ?? DEFAULT_THETA, rotary: rotaryOf(fields, headDim, factor) };
}

/**
 * Two of them (Gemma 3): for layers that see all, and for those with a window. transformers 5 has a section for each in
 * `rope_parameters`, transformers 4 `rope_theta` with `rope_scaling`, and `rope_local_base_freq`.
 */
export function readLayeredRope(fields: Fields, headDim: number, maxPositions: number, thetas: { full: number; sliding: number }): { rope: RopeConfig; localRope: RopeConfig } {
  const sections = fields.object('rope_parameters');
  const read = (kind: 'full' | 'sliding', thetaField: string, scaling: Fields | undefined): RopeConfig => {
    const theta = fields.number(thetaField, THETA), rules = { theta: thetas[kind] };
    const of = (section: Fields): RopeConfig => readSection(section, { theta, factor: undefined, headDim, outside: undefined, maxPositions, rules });
    const section = sections?.object(`${kind}_attention`);
    const own = section && of(section), scaled = scaling && of(scaling);
    if (own && scaled && JSON.stringify(own) !== JSON.stringify(scaled)) throw fields.invalid('rope_scaling', `contradicts "rope_parameters.${kind}_attention"`);
    return own ?? scaled ?? { type: 'default', theta: theta ?? thetas[kind], rotary: headDim };
  };
  const both = { rope: read('full', 'rope_theta', fields.object('rope_scaling')), localRope: read('sliding', 'rope_local_base_freq', undefined) };
  const [unread] = sections?.unread() ?? [];
  if (unread !== undefined) throw sections!.unsupported(unread, 'this model has RoPE for full_attention and for sliding_attention');
  return both;
}

/** What stands outside of a section. */
interface Outside { theta: number | undefined; factor: number | undefined; headDim: number; outside: number | undefined; maxPositions: number; rules: RopeRules }

function readSection(section: Fields, { theta: outerTheta, factor, headDim, outside, maxPositions, rules }: Outside): RopeConfig {
  const named = section.string('rope_type'), legacy = section.string('type');
  if (named !== undefined && legacy !== undefined && named !== legacy) throw section.invalid('type', `contradicts rope_type "${named}"`);
  const given = named ?? legacy ?? 'default';
  const type = rules.aliases && Object.hasOwn(rules.aliases, given) ? rules.aliases[given]! : given;
  if (!Object.hasOwn(TYPES, type)) {
    throw section.unsupported(named === undefined ? 'type' : 'rope_type', `Weft knows ${Object.keys(TYPES).join(', ')}`);
  }
  const theta = section.number('rope_theta', THETA);
  if (theta !== undefined && outerTheta !== undefined && theta !== outerTheta) throw section.invalid('rope_theta', `contradicts the config's own rope_theta (${outerTheta})`);
  const own = readPart(section, rules);
  if (own !== undefined && factor !== undefined && own !== factor) throw section.invalid('partial_rotary_factor', `contradicts the config's own partial_rotary_factor (${factor})`);
  const common = { theta: theta ?? outerTheta ?? rules.theta ?? DEFAULT_THETA, rotary: rotaryOf(section, headDim, own ?? factor) };
  const rope = TYPES[type as RopeConfig['type']](section, common, { original: outside, max: maxPositions, rules });
  const [unread] = section.unread();
  if (unread !== undefined) throw section.unsupported(unread, `RoPE type "${type}" has no such field`);
  return rope;
}

/** Most architectures rotate whole heads; transformers reads the factor only for some of their types. */
function readPart(fields: Fields, { partial = false }: RopeRules): number | undefined {
  const factor = fields.number('partial_rotary_factor', { min: 0, max: 1 });
  if (factor !== undefined && factor !== 1 && !partial) throw fields.unsupported('partial_rotary_factor', 'only 1 (whole heads) is supported');
  return factor;
}

/** As transformers: rounded down. */
function rotaryOf(fields: Fields, headDim: number, factor = 1): number {
  const rotary = Math.floor(headDim * factor);
  if (rotary < 2 || rotary % 2 !== 0) throw fields.invalid('partial_rotary_factor', `turns ${rotary} of ${headDim} values; RoPE turns pairs`);
  return rotary;
}

const f32 = Math.fround;

/** Frequencies in radians per position, [rotary / 2], each a float32. `context`: the longest that is served. */
export function inverseFrequencies(rope: RopeConfig, context = 0): Float32Array {
  const base = f32(rope.theta);
  if (rope.type === 'longrope') {
    const factors = context > rope.originalMaxPositions ? rope.long : rope.short;
    return Float32Array.from(factors, (factor, i) => f32(1 / f32(f32(factor) * f32(base ** f32(f32(2 * i) / rope.rotary)))));
  }
  const frequencies = Float32Array.from({ length: rope.rotary / 2 }, (_, i) => f32(1 / f32(base ** f32(f32(2 * i) / rope.rotary))));
  if (rope.type === 'linear') return frequencies.map(frequency => f32(frequency / f32(rope.factor)));
  if (rope.type === 'yarn') return ramped(rope);
  return rope.type === 'llama3' ? frequencies.map(frequency => stretch(frequency, rope)) : frequencies;
}

/** YaRN: of which dimension a frequency turns so often in the original context follows from its place; between two of them is the ramp. */
function ramped({ theta, rotary, factor, betaFast, betaSlow, truncate, originalMaxPositions }: RopeOf<'yarn'>): Float32Array {
  const placeOf = (turns: number): number => rotary * Math.log(originalMaxPositions / (turns * 2 * Math.PI)) / (2 * Math.log(theta));
  const fast = placeOf(betaFast), slow = placeOf(betaSlow);
  const low = Math.max(truncate ? Math.floor(fast) : fast, 0), highest = Math.min(truncate ? Math.ceil(slow) : slow, rotary - 1);
  const high = highest === low ? highest + 0.001 : highest;
  return Float32Array.from({ length: rotary / 2 }, (_, i) => {
    const wavelength = f32(f32(theta) ** f32(f32(2 * i) / rotary));
    const ramp = Math.min(Math.max(f32(f32(i - f32(low)) / f32(high - low)), 0), 1), kept = f32(1 - ramp);
    return f32(f32(f32(1 / f32(f32(factor) * wavelength)) * f32(1 - kept)) + f32(f32(1 / wavelength) * kept));
  });
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
export function fillRopeTable(rope: RopeConfig, positions: number, table: Float32Array, context = positions): void {
  const { rotary } = rope, half = rotary / 2;
  if (table.length < positions * rotary) throw new WeftError('internal_error', `a RoPE table of ${positions} × ${rotary} does not fit into ${table.length} values`);
  const frequencies = inverseFrequencies(rope, context), length = rope.type === 'longrope' || rope.type === 'yarn' ? f32(rope.attentionFactor) : 1;
  for (let position = 0, at = 0; position < positions; position++, at += rotary) {
    for (let i = 0; i < half; i++) {
      const angle = f32(frequencies[i]! * f32(position));
      table[at + i] = Math.cos(angle) * length;
      table[at + half + i] = Math.sin(angle) * length;
    }
  }
}
