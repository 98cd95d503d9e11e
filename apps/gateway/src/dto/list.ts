/** Lists as every route of this API answers them: `limit` and `after` in, `data` and `has_more` out. */
import { z } from 'zod';

export const LIMIT_MAX = 1000;
const LIMIT_DEFAULT = 100;
/** Ids and names, whichever a list continues after. */
const CURSOR_CHARS_MAX = 128;

export const pageFields = {
  limit: z.coerce.number().int().min(1).max(LIMIT_MAX).default(LIMIT_DEFAULT),
  after: z.string().min(1).max(CURSOR_CHARS_MAX).optional(),
};
export const page = z.object(pageFields);

export const listSchema = <T extends z.ZodType>(item: T): z.ZodObject<{ object: z.ZodLiteral<'list'>; data: z.ZodArray<T>; has_more: z.ZodBoolean }> =>
  z.object({ object: z.literal('list'), data: z.array(item), has_more: z.boolean() });

export interface List<T> { object: 'list'; data: T[]; has_more: boolean }

export function list<T, Card>({ data, hasMore }: { data: T[]; hasMore: boolean }, card: (item: T) => Card): List<Card> {
  return { object: 'list', data: data.map(card), has_more: hasMore };
}
