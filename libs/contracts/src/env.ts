/** Reads settings from an environment, once, at the start: every wrong value is an error that names its variable. */
import { WeftError } from './errors.js';

export class Env {
  readonly #values: Readonly<Record<string, string | undefined>>;
  constructor(values: Readonly<Record<string, string | undefined>>) { this.#values = values; }

  /** Empty counts as not set. */
  optional(name: string): string | undefined { return this.#values[name] || undefined; }

  string(name: string): string {
    const value = this.optional(name);
    if (value === undefined) throw new WeftError('option_invalid', `${name} is not set`, { field: name });
    return value;
  }

  integer(name: string, range: { min: number; max?: number }): number | undefined {
    const text = this.optional(name);
    return text === undefined ? undefined : parseInteger(name, text, range);
  }

  oneOf<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const text = this.optional(name);
    if (text === undefined || choices.includes(text as T)) return text as T | undefined;
    throw new WeftError('option_invalid', `${name} is ${JSON.stringify(text)}; it can be ${choices.join(', ')}`, { field: name });
  }

  /** Parts between commas, without blanks. */
  list(name: string): string[] {
    return (this.optional(name) ?? '').split(',').map(part => part.trim()).filter(Boolean);
  }
}

/** Digits only: `1e3`, `0x10` and `8 ` are typing errors more often than numbers. */
export function parseInteger(name: string, text: string, { min, max = Number.MAX_SAFE_INTEGER }: { min: number; max?: number }): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) {
    const bounds = max === Number.MAX_SAFE_INTEGER ? `at least ${min}` : `from ${min} to ${max}`;
    throw new WeftError('option_invalid', `${name} is ${JSON.stringify(text)}; it must be a whole number ${bounds}`, { field: name });
  }
  return value;
}
