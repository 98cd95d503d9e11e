/**
 * What tensors of a checkpoint become on the device. A plan names them all first, so that what they take is known before any
 * byte is read. Parts are packed in the order in which they stand in it.
 */
import type { TensorRef } from '@weft/adapters';
import type { DeviceBuffer, DType } from '@weft/kernels';
import type { TensorClaims } from './claims.js';

/** A tensor, or part of one; transposed: as it is wanted, not as it lies. */
export type StackedTensor = TensorRef & { transposed?: boolean };
/** Tensors whose rows follow one another. */
export type Stack = readonly StackedTensor[];

/** For a linear map. exact: never in int8. */
export interface MatrixPlan { form: 'matrix'; label: string; stack: Stack; exact?: boolean }
/** For `expertLinear` and `headLinear`: matrices of the same shape, each of its own stack. */
export interface ExpertsPlan { form: 'experts'; label: string; experts: readonly Stack[] }
/** For reading single rows: an embedding that is not the head's matrix. */
export interface RowsPlan { form: 'rows'; label: string; stack: Stack }
/** Norms and biases, f32. */
export interface VectorPlan { form: 'vector'; label: string; stack: Stack }
export type Part = MatrixPlan | ExpertsPlan | RowsPlan | VectorPlan;

/** [rows, cols] on the device. layout 0: panels, 1: plain rows (op `linear`). */
export interface PackedMatrix { buffer: DeviceBuffer; dtype: DType; layout: 0 | 1; rows: number; cols: number }

/** `count` matrices [n, k] in panels, each padded to whole ones (ops `expertLinear` and `headLinear`). */
export interface PackedExperts { buffer: DeviceBuffer; dtype: DType; count: number; n: number; k: number }

/** A plan with its parts packed. */
export type Packed<T> = T extends VectorPlan ? DeviceBuffer : T extends ExpertsPlan ? PackedExperts : T extends MatrixPlan | RowsPlan ? PackedMatrix : T extends object ? { [K in keyof T]: Packed<T[K]> } : T;

export const isPart = (value: object): value is Part => 'form' in value;

/** All parts of a plan, in the order of packing. */
export function partsOf(plan: object): Part[] {
  if (isPart(plan)) return [plan];
  return Object.values(plan).flatMap((value: unknown) => (typeof value === 'object' && value !== null ? partsOf(value) : []));
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
export const rowsOf = (stack: Stack): number => sum(stack.map(({ shape }) => shape[0]!));
export const colsOf = (stack: Stack): number => stack[0]!.shape[1]!;

/** The matrices of a tensor [count, n, k], one after another. */
export function slices(tensor: TensorRef): TensorRef[] {
  const [count, ...shape] = tensor.shape as [number, ...number[]], bytes = tensor.bytes / count;
  return Array.from({ length: count }, (_, i) => ({ ...tensor, shape, offset: tensor.offset + i * bytes, bytes }));
}

/** The rows of a matrix in blocks of `rows`. */
export function blocksOfRows(tensor: TensorRef, rows: readonly number[]): TensorRef[] {
  const rowBytes = tensor.bytes / tensor.shape[0]!;
  let first = 0;
  return rows.map(count => {
    const block = { ...tensor, shape: [count, tensor.shape[1]!], offset: tensor.offset + first * rowBytes, bytes: count * rowBytes };
    first += count;
    return block;
  });
}

/** Claims the tensors of one layer, or of a module in it. A module: its path below the prefix, and its outputs. */
export class LayerPlanner {
  constructor(readonly claims: TensorClaims, readonly prefix: string, readonly label: string) {}

  has(name: string): boolean { return this.claims.has(`${this.prefix}.${name}`); }
  tensor(name: string, shape: readonly number[]): TensorRef { return this.claims.take(`${this.prefix}.${name}`, shape); }

  vector(label: string, module: string, size: number): VectorPlan {
    return { form: 'vector', label: `${this.label} ${label}`, stack: [this.claims.take(`${this.prefix}.${module}.weight`, [size])] };
  }
  matrix(label: string, modules: readonly [module: string, dOut: number][], dIn: number): MatrixPlan {
    return { form: 'matrix', label: `${this.label} ${label}`, stack: modules.map(([module, dOut]) => this.claims.take(`${this.prefix}.${module}.weight`, [dOut, dIn])) };
  }
  bias(label: string, modules: readonly [module: string, dOut: number][]): VectorPlan {
    return { form: 'vector', label: `${this.label} ${label} bias`, stack: modules.map(([module, dOut]) => this.claims.take(`${this.prefix}.${module}.bias`, [dOut])) };
  }
}
