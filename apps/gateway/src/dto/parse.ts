/** A body against a schema: the first thing wrong with it becomes an error that names the field. */
import { WeftError } from '@weft/contracts';
import type { z } from 'zod';

/** Fields that are accepted only while they ask for nothing. */
export interface Unsupported { [field: string]: (value: unknown) => boolean }

/**
 * `null` stands for a field that was left out, as in OpenAI's API. A field that no schema knows is refused by its name:
 * ignoring it might change the answer. Throws invalid_value.
 */
export function parse<T extends z.ZodObject>(schema: T, body: unknown, unsupported: Unsupported = {}): z.output<T> {
  if (body === undefined) throw new WeftError('invalid_value', 'The body is empty; it must be a JSON object.');
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw new WeftError('invalid_value', 'The body must be a JSON object.');
  const fields: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(body)) {
    if (value === null) continue;
    if (Object.hasOwn(schema.shape, name)) fields[name] = value;
    else if (!Object.hasOwn(unsupported, name)) throw new WeftError('invalid_value', `Unknown field ${JSON.stringify(name)}. Remove it.`, { param: name });
    else if (!unsupported[name]!(value)) throw new WeftError('invalid_value', `'${name}' is not supported with this value. Remove it.`, { param: name });
  }
  const result = schema.safeParse(fields, { error: ({ input }) => (input === undefined ? 'Missing' : undefined) });
  if (result.success) return result.data;
  const issue = deepest(result.error.issues[0]!);
  const param = pathOf(issue.path);
  throw new WeftError('invalid_value', `${param}: ${issue.message}`, { param });
}

/** Of a union, the alternative that came furthest is the one that was meant. */
function deepest(issue: z.core.$ZodIssue): z.core.$ZodIssue {
  if (issue.code !== 'invalid_union') return issue;
  const inner = issue.errors.flatMap(issues => issues.map(deepest)).filter(({ path, code }) => path.length > 0 || code !== 'invalid_type');
  const furthest = inner.sort((a, b) => b.path.length - a.path.length)[0];
  return furthest === undefined ? issue : { ...furthest, path: [...issue.path, ...furthest.path] };
}

/** messages[0].content */
function pathOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => (typeof part === 'number' ? `${text}[${part}]` : text === '' ? String(part) : `${text}.${String(part)}`), '');
}
