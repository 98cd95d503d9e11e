/**
 * A machine's tuning: a JSON file of whole numbers that `npm run bench -- tune` writes. It shapes tiles, prefetches and
 * waits, never results. Fields and their limits stand in native/core/tuning.h; what is not given fits the instruction set.
 */
import { readFile } from 'node:fs/promises';
import { WeftError } from '@weft/contracts';

export type Tuning = Readonly<Record<string, number>>;

/** Reads a tuning file. Throws option_invalid; its fields are checked when a device is made with it. */
export async function readTuning(path: string): Promise<Tuning> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw invalid(`${path} cannot be read: ${(error as Error).message}`, error);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(`${path} holds no JSON object`);
  return value as Tuning;
}

const invalid = (message: string, cause?: unknown): WeftError => new WeftError('option_invalid', message, { field: 'tuning', cause });
