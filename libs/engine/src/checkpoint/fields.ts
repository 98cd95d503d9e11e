/**
 * Reads a JSON object field by field and remembers what nobody asked for: a field that is neither honoured nor known to
 * be without effect can then be refused by its name.
 */
import { WeftError } from '@weft/contracts';

export interface Range { min: number; max: number }

const show = (value: unknown): string => {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
};

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export class Fields {
  /** A Map, not the object itself: a field may be called `__proto__`. */
  readonly #values: Map<string, unknown>;
  readonly #unread: Set<string>;

  /** `path` is the name of the field that holds the object, for messages; empty for the file itself. */
  constructor(readonly file: string, values: Record<string, unknown>, readonly path = '') {
    this.#values = new Map(Object.entries(values));
    this.#unread = new Set(this.#values.keys());
  }

  nameOf(field: string): string { return this.path ? `${this.path}.${field}` : field; }

  /** The value as it stands, or undefined where it is missing or null. */
  raw(field: string): unknown {
    this.#unread.delete(field);
    return this.#values.get(field) ?? undefined;
  }
  /** Whether the field stands there, be it null: some defaults apply only to what is missing. */
  has(field: string): boolean { return this.#values.has(field); }

  integer(field: string, range: Range): number | undefined {
    const value = this.number(field, range);
    if (value !== undefined && !Number.isInteger(value)) throw this.invalid(field, 'must be a whole number');
    return value;
  }
  number(field: string, { min, max }: Range): number | undefined {
    const value = this.raw(field);
    if (value === undefined) return undefined;
    if (typeof value !== 'number' || !Number.isFinite(value)) throw this.invalid(field, 'must be a number');
    if (value < min || value > max) throw this.invalid(field, `must lie between ${min} and ${max}`);
    return value;
  }
  boolean(field: string): boolean | undefined {
    const value = this.raw(field);
    if (value !== undefined && typeof value !== 'boolean') throw this.invalid(field, 'must be true or false');
    return value;
  }
  string(field: string): string | undefined {
    const value = this.raw(field);
    if (value !== undefined && typeof value !== 'string') throw this.invalid(field, 'must be a string');
    return value;
  }
  object(field: string): Fields | undefined {
    const value = this.raw(field);
    if (value === undefined) return undefined;
    if (!isObject(value)) throw this.invalid(field, 'must be an object');
    return new Fields(this.file, value, this.nameOf(field));
  }
  list(field: string): unknown[] | undefined {
    const value = this.raw(field);
    if (value !== undefined && !Array.isArray(value)) throw this.invalid(field, 'must be a list');
    return value;
  }

  /** `value`, or an error that says that the field is missing. */
  required<T>(field: string, value: T | undefined): T {
    if (value === undefined) throw new WeftError('checkpoint_config_invalid', `${this.file}: "${this.nameOf(field)}" is missing`, { field: this.nameOf(field), file: this.file });
    return value;
  }

  /** Fields that say something and that nobody read: not null, false, or empty. */
  unread(): string[] {
    return [...this.#unread].filter(field => {
      const value = this.#values.get(field);
      if (value === null || value === false || value === '') return false;
      if (Array.isArray(value)) return value.length > 0;
      return !isObject(value) || Object.keys(value).length > 0;
    });
  }

  /** The value makes no sense. */
  invalid(field: string, problem: string): WeftError {
    return new WeftError('checkpoint_config_invalid', `${this.file}: "${this.nameOf(field)}" is ${show(this.#values.get(field))}; it ${problem}`, { field: this.nameOf(field), file: this.file });
  }
  /** The value may make sense, but not here. */
  unsupported(field: string, reason: string): WeftError {
    return new WeftError('checkpoint_unsupported', `${this.file}: "${this.nameOf(field)}" is ${show(this.#values.get(field))}; ${reason}`, { field: this.nameOf(field), file: this.file });
  }
}
