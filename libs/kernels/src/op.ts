/**
 * How ops are described (see ops.ts). An op has operands, which are places in buffers, and params, which are 32-bit
 * words. The shape of an operand is told by params or constants, so that one generic check covers every op.
 */

/** A place in a buffer: `buffer` is a DeviceBuffer's id or a binding's number, `words` the offset in units of 4 bytes. */
export interface Ref { readonly buffer: number; readonly words: number }

/** Buffer 0: the operand is absent. */
export const NULL_REF: Ref = Object.freeze({ buffer: 0, words: 0 });

/** A dimension: the name of the param that tells it, or a constant. */
export type Dim<D extends string = string> = D | number;

export type OperandKind = 'rows' | 'packed' | 'arena' | 'table';
export type Elem = 'f32' | 'i32' | 'byte';
/** `out`: written only; `inout`: read and written; `scratch`: room that a kernel may use, with nothing in it for others. */
export type Access = 'in' | 'out' | 'inout' | 'scratch';

export interface Operand<D extends string = string, Optional extends boolean = boolean> {
  readonly kind: OperandKind;
  readonly elem: Elem;
  readonly access: Access;
  readonly optional: Optional;
  readonly rows: Dim<D>;
  readonly cols: Dim<D>;
  /** Distance between rows in values; the same as `cols` where it is not told. */
  readonly ld: Dim<D>;
  /** The param that holds a DType: of packed values always, of rows where they may be bf16 as well as f32. */
  readonly dtype?: D | undefined;
  /** packed: the param that tells panels (0) from plain rows (1), if there is one. */
  readonly layout?: D | undefined;
}

export type ParamKind = 'u32' | 'f32' | 'count';
/**
 * A count is recorded as the index of a header word of the frame (0: the capacity). Kernels get the number:
 * header[count] ≤ capacity, or with `from` header[count] - from, held between 0 and capacity.
 */
export interface Param<D extends string = string> {
  readonly kind: ParamKind;
  readonly capacity?: D | undefined;
  readonly from?: D | undefined;
}

export const u32: Param<never> = { kind: 'u32' };
export const f32: Param<never> = { kind: 'f32' };
export const counts = <C extends string, F extends string = never>(capacity: C, from?: F): Param<C | F> =>
  ({ kind: 'count', capacity, from });

/** [rows][cols] of 32-bit values, rows `ld` values apart. */
export const mat = <R extends Dim, C extends Dim, L extends Dim = C>(
  elem: 'f32' | 'i32', rows: R, cols: C, ld?: L,
): Operand<Extract<R | C | L, string>, false> =>
  ({ kind: 'rows', elem, access: 'in', optional: false, rows, cols, ld: ld ?? cols } as Operand<never, false>);

/** [rows][cols] of f32 or bf16, as the param `type` says, rows `ld` values apart: an even number of them where they are bf16. */
export const typed = <R extends string, C extends string, L extends string, T extends string>(
  rows: R, cols: C, ld: L, type: T,
): Operand<R | C | L | T, false> =>
  ({ kind: 'rows', elem: 'byte', access: 'in', optional: false, rows, cols, ld, dtype: type });

/** [count] 32-bit values. */
export const vec = <R extends string>(elem: 'f32' | 'i32', count: R): Operand<R, false> =>
  ({ kind: 'rows', elem, access: 'in', optional: false, rows: count, cols: 1, ld: 1 });

/** A weight [n][k] in panels of 32 outputs (see op `linear`; int8: DType), or plain rows where `layout` is 1, of the DType in `dtype`. */
export const packed = <N extends string, K extends string, T extends string, L extends string = never>(
  n: N, k: K, dtype: T, layout?: L,
): Operand<N | K | T | L, false> =>
  ({ kind: 'packed', elem: 'byte', access: 'in', optional: false, rows: n, cols: k, ld: k, dtype, layout });

/** The pool's pages: `pages` × `pageBytes` bytes. */
export const arena = <N extends string, B extends string>(pages: N, pageBytes: B): Operand<N | B, false> =>
  ({ kind: 'arena', elem: 'byte', access: 'in', optional: false, rows: pages, cols: pageBytes, ld: pageBytes });

/** Adapter tables, `words` 32-bit words for each of `slots` (adapter-table.ts). */
export const table = <N extends string, W extends string>(slots: N, words: W): Operand<N | W, false> =>
  ({ kind: 'table', elem: 'i32', access: 'in', optional: false, rows: slots, cols: words, ld: words });

export const optional = <T extends { optional: boolean }>(operand: T): Omit<T, 'optional'> & { readonly optional: true } => ({ ...operand, optional: true });
export const out = <T extends { access: Access }>(operand: T): T => ({ ...operand, access: 'out' });
export const scratch = <T extends { access: Access }>(operand: T): T => ({ ...operand, access: 'scratch' });
export const inout = <T extends { access: Access }>(operand: T): T => ({ ...operand, access: 'inout' });

export interface Op<
  O extends Record<string, Operand> = Record<string, Operand>,
  P extends Record<string, Param> = Record<string, Param>,
> {
  readonly code: number;
  readonly name: string;
  readonly operands: O;
  readonly params: P;
}

type OptionalOperands<O> = { [K in keyof O]: O[K] extends Operand<string, true> ? K : never }[keyof O];

/** What `CommandList.add` takes for an op: a Ref for each operand (null or nothing for absent ones), a number for each param. */
export type OpArgs<T extends Op> =
  { readonly [K in Exclude<keyof T['operands'], OptionalOperands<T['operands']>>]: Ref }
  & { readonly [K in OptionalOperands<T['operands']>]?: Ref | null }
  & { readonly [K in keyof T['params']]: number };

/** The names that a description uses as dimensions. */
type NamesIn<T> = T extends Operand<infer D> | Param<infer D> ? D : never;
type Described<T, Names> = { [K in keyof T]: [NamesIn<T[K]>] extends [Names] ? T[K] : never };

/** Describes an op. Every dimension must be the name of one of its params: the compiler checks that. */
export function op<O extends Record<string, { kind: OperandKind }>, P extends Record<string, { kind: ParamKind }>>(
  code: number, name: string, operands: O & Described<O, keyof P>, params: P & Described<P, keyof P>,
): O extends Record<string, Operand> ? P extends Record<string, Param> ? Op<O, P> : never : never {
  return { code, name, operands, params } as never;
}
