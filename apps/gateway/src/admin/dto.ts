/** What the routes around tenants, keys, usage, jobs and the audit log take. */
import { WeftError } from '@weft/contracts';
import { z } from 'zod';
import { LIMIT_MAX, pageFields } from '../dto/list.js';
import { name } from '../dto/names.js';
import { parse } from '../dto/parse.js';
import { time } from '../dto/time.js';

export const SCOPES = ['inference', 'adapters:write', 'admin'] as const;
export const USAGE_GROUPS = ['tenant', 'adapter', 'model', 'key', 'status', 'hour', 'day'] as const;
const KEY_NAME_CHARS_MAX = 100;
/** Sums are short, and may be of every adapter. */
const USAGE_LIMIT_MAX = 10_000;
const LIMIT_PER_MINUTE_MAX = 2 ** 31 - 1;

/** One by its name, or all. */
const tenant = z.union([name, z.literal('*')], 'A tenant\'s name, or «*» for all').optional();
const id = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'From 1 to 64 letters, digits, «_» and «-»');

export const idPath = z.object({ id });
export const tenantPath = z.object({ name });
export const tenantQuery = z.object({ tenant: name.optional() });
export const adminPage = z.object({ ...pageFields, tenant });
export const tenantBody = z.object({ name });

/** 0 or null: not limited. */
const limit = z.int().min(0).max(LIMIT_PER_MINUTE_MAX).nullable().default(0).transform(value => value ?? 0);
const limits = z.strictObject({ requests_per_minute: limit, tokens_per_minute: limit, parallel: limit });
const keyName = z.string().min(1).max(KEY_NAME_CHARS_MAX);
/** 0: never. */
const expiry = time.refine(ms => ms === 0 || ms > Date.now(), 'In the past');

export const createKeyBody = z.object({
  name: keyName, tenant: name.optional(), limits: limits.optional(), expires_at: expiry.optional(),
  scopes: z.array(z.enum(SCOPES)).min(1).refine(all => new Set(all).size === all.length, 'Each scope once').default(['inference']),
});
export const updateKeyBody = z.object({ name: keyName.optional(), limits: limits.optional(), expires_at: expiry.optional() });

/** Here `null` takes away what a key has. Throws invalid_value. */
export function parseUpdate(body: unknown): z.output<typeof updateKeyBody> {
  const nothing: Record<string, unknown> = { limits: {}, expires_at: 0 };
  const fields = typeof body === 'object' && body !== null && !Array.isArray(body)
    ? Object.fromEntries(Object.entries(body).map(([key, value]) => [key, value ?? nothing[key] ?? null]))
    : body;
  const update = parse(updateKeyBody, fields);
  if (Object.keys(update).length === 0) throw new WeftError('invalid_value', `Nothing to change: name, limits or expires_at is needed.`, { param: 'name' });
  return update;
}

const groupBy = z.string().transform(text => text.split(',').map(part => part.trim()))
  .pipe(z.array(z.enum(USAGE_GROUPS)).refine(groups => new Set(groups).size === groups.length, 'Each group once'));

export const usageQuery = z.object({
  tenant, start: time.default(0), end: time.default(0),
  group_by: groupBy.default([]).describe(`Any of ${USAGE_GROUPS.join(', ')}, separated by commas`),
  limit: z.coerce.number().int().min(1).max(USAGE_LIMIT_MAX).default(LIMIT_MAX),
}).refine(({ start, end }) => end === 0 || end > start, { path: ['end'], message: 'Not behind the start' });
