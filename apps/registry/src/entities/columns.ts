import type { ColumnOptions } from 'typeorm';

/** bigint, as a number: what it counts stays below 2^53. */
export const COUNT: ColumnOptions = { type: 'bigint', transformer: { to: (value: number) => value, from: (text: string | null) => text === null ? null : Number(text) } };
export const CREATED_AT: ColumnOptions = { type: 'timestamptz', default: () => 'now()' };
export const MOMENT: ColumnOptions = { type: 'timestamptz', nullable: true };
