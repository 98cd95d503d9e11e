/** What adapter routes take: names in paths, an alias's version, and the form of an upload. */
import { z } from 'zod';
import { page, pageFields } from '../dto/list.js';
import { name } from '../dto/names.js';

const alias = z.string()
  .regex(/^[a-z][a-z0-9._-]{0,31}$/, 'From 1 to 32 small letters, digits, «.», «_» and «-», the first a letter')
  .refine(text => text !== 'latest', '«latest» is always the newest ready version. Choose another alias');
const VERSION_MAX = 2 ** 31 - 1;

export const adapterPath = z.object({ name });
export const versionPath = z.object({ name, version: z.coerce.number().int().min(1).max(VERSION_MAX) });
export const aliasPath = z.object({ name, alias });
export const sharePath = z.object({ name, tenant: name });

/** Behind a name; of all tenants behind tenant/name. */
const after = z.string().regex(/^[A-Za-z0-9._-]{1,63}(\/[A-Za-z0-9._-]{1,63})?$/, 'A name, or tenant/name').optional();
export const adapterPage = z.object({ ...pageFields, after, tenant: z.union([name, z.literal('*')], 'A tenant\'s name, or «*» for all').optional() })
  .refine(query => query.tenant === '*' || !query.after?.includes('/'), { path: ['after'], message: 'A name; tenant/name only with tenant=*' });
export const historyPage = page;
/** Query strings have no other booleans. */
export const forceQuery = z.object({ force: z.enum(['true', 'false']).default('false').transform(text => text === 'true') });
export const aliasBody = z.object({ version: z.int().min(1).max(VERSION_MAX) });

const BASE_CHARS_MAX = 512;
const DESCRIPTION_CHARS_MAX = 2000;
/** The text fields of an upload. */
export const uploadFields = z.object({
  name, base: z.string().min(1).max(BASE_CHARS_MAX).optional(), alias: alias.optional(), description: z.string().max(DESCRIPTION_CHARS_MAX).optional(),
});
export type UploadFieldName = keyof typeof uploadFields.shape;
export const isUploadField = (text: string): text is UploadFieldName => Object.hasOwn(uploadFields.shape, text);

const FILE_CHARS_MAX = 255;
/** Flat: a name is never a path, and never made one by cutting it. */
export const fileName = z.string().min(1, 'Each file needs its name').max(FILE_CHARS_MAX)
  .regex(/^[^/\\\p{Cc}]*$/u, 'File names are flat: no «/», «\\» and control characters')
  .refine(text => text !== '.' && text !== '..', 'This is a folder, not a file');

const KEY_CHARS_MAX = 255;
export const uploadHeaders = z.object({ 'Idempotency-Key': z.string().min(1).max(KEY_CHARS_MAX).optional() });
export const filePath = versionPath.extend({ file: fileName });
