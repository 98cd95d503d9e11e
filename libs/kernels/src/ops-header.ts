/** native/core/ops.gen.h: what TypeScript says about ops, frames and adapter tables, for C++. */
import { End, Half, ID_BYTES, OUTS_BYTES, RUN_WORDS, Run, SEG_WORDS, Seg } from './adapter-table.js';
import { Binding, FIRST_BUFFER_ID } from './device.js';
import { SPAN_WORDS, Span, W_DEPTH, W_OUTS, W_UNIT_BYTES } from './expert-table.js';
import {
  ATTENTION_SPAN, BLOCK_TOKENS, GROUP_WORDS, Group, HEADER_WORDS, Header, LOGIT_TILE, MAX_TOP_LOGPROBS, RESULT_WORDS, Result, RowStatus,
  SAMPLE_WORDS, SEGMENT_WORDS, SLOT_WORDS, Sample, Segment, Slot,
} from './frame.js';
import type { Dim, Op, Operand, Param } from './op.js';
import { Activation, DType, INT8_GROUP, OPS } from './ops.js';

const INDICES = { DType, Activation, Binding, Header, Segment, Group, Sample, Result, RowStatus, Slot, Run, Seg, Half, End, Span };
const CONSTANTS = {
  FIRST_BUFFER_ID, HEADER_WORDS, SEGMENT_WORDS, GROUP_WORDS, SAMPLE_WORDS, RESULT_WORDS, SLOT_WORDS, RUN_WORDS,
  OUTS_BYTES, ID_BYTES, SEG_WORDS, SPAN_WORDS, W_UNIT_BYTES, W_OUTS, W_DEPTH, MAX_TOP_LOGPROBS, BLOCK_TOKENS, ATTENTION_SPAN, LOGIT_TILE, INT8_GROUP,
};

const capital = (name: string): string => name[0]!.toUpperCase() + name.slice(1);
/** SEGMENT_WORDS → SegmentWords. */
const camel = (name: string): string => name.split('_').map(part => capital(part.toLowerCase())).join('');
const argsName = (op: Op): string => `${capital(op.name)}Args`;

const POINTERS: Record<Operand['elem'], string> = { f32: 'float*', i32: 'int32_t*', byte: 'uint8_t*' };
const WORDS: Record<Param['kind'], string> = { u32: 'uint32_t', f32: 'float', count: 'uint32_t' };

function argsStruct(op: Op): string {
  const pointers = Object.entries(op.operands).map(([name, { elem, optional }]) =>
    `  ${POINTERS[elem]} ${name};${optional ? '  // or nullptr' : ''}`);
  const params = Object.entries(op.params).map(([name, { kind }]) => `  ${WORDS[kind]} ${name};`);
  return [`struct ${argsName(op)} {`, ...pointers, ...params, '};'].join('\n');
}

function description(op: Op): string {
  const names = Object.keys(op.params);
  const indexOf = (name: string | undefined): string => {
    if (name === undefined) return 'kNoParam';
    const index = names.indexOf(name);
    if (index < 0) throw new Error(`op ${op.name}: ${name} is not one of its params`);
    return String(index);
  };
  const dim = (value: Dim): string => (typeof value === 'number' ? `{kNoParam, ${value}}` : `{${indexOf(value)}, 0}`);
  const operands = Object.entries(op.operands).map(([name, o]) => {
    if (names.includes(name)) throw new Error(`op ${op.name}: ${name} is both an operand and a param`);
    const kinds = [`OperandKind::k${capital(o.kind)}`, `Elem::k${capital(o.elem)}`, `Access::k${o.access === 'inout' ? 'InOut' : capital(o.access)}`];
    const dims = [dim(o.rows), dim(o.cols), dim(o.ld), indexOf(o.dtype), indexOf(o.layout)];
    return `    {"${name}", ${[...kinds, o.optional, ...dims].join(', ')}},`;
  });
  const params = Object.entries(op.params).map(([name, p]) =>
    `    {"${name}", ParamKind::k${capital(p.kind)}, ${indexOf(p.capacity)}, ${indexOf(p.from)}},`);
  return [
    `inline constexpr OperandInfo k${capital(op.name)}Operands[] = {`, ...operands, '};',
    `inline constexpr ParamInfo k${capital(op.name)}Params[] = {`, ...params, '};',
  ].join('\n');
}

/** The text of native/core/ops.gen.h. `npm run generate` writes it, a test holds the committed file against it. */
export function opsHeader(): string {
  const ops: Op[] = Object.values(OPS);
  const count = Math.max(...ops.map(op => op.code)) + 1;
  const byCode = Array.from({ length: count }, (_, code) => ops.find(op => op.code === code));
  const lines = [
    '// Generated from src/ops.ts, src/frame.ts, src/adapter-table.ts, src/expert-table.ts and src/device.ts by `npm run generate`.',
    '#pragma once',
    '#include "op_info.h"',
    '',
    'namespace weft {',
    '',
    'enum OpCode : uint32_t {', ...ops.map(op => `  kOp${capital(op.name)} = ${op.code},`), '};',
    `constexpr uint32_t kOpCount = ${count};`,
    '',
    ...Object.entries(CONSTANTS).map(([name, value]) => `constexpr uint32_t k${camel(name)} = ${value};`),
    '',
    ...Object.entries(INDICES).flatMap(([group, values]) =>
      [...Object.entries(values).map(([name, value]) => `constexpr uint32_t k${group}${capital(name)} = ${value};`), '']),
    '// Arguments of kernels: pointers in the order of the operands, then words in the order of the params.',
    ...ops.flatMap(op => [argsStruct(op), '']),
    ...ops.flatMap(op => [description(op), '']),
    'inline constexpr OpInfo kOps[kOpCount] = {',
    ...byCode.map(op => (op === undefined
      ? '    {nullptr, 0, 0, 0, nullptr, nullptr},'
      : `    {"${op.name}", ${Object.keys(op.operands).length}, ${Object.keys(op.params).length}, sizeof(${argsName(op)}), `
        + `k${capital(op.name)}Operands, k${capital(op.name)}Params},`)),
    '};',
    '',
    '}  // namespace weft',
    '',
  ];
  return lines.join('\n');
}
