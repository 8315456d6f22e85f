/**
 * Lists of items, page by page: `GET /v1/responses/{id}/input_items`.
 *
 * @module
 */

import { z } from 'zod';
import { ApiError } from '../api-errors.ts';
import { refuse, refuseValue } from '../protocol-faults.ts';
import { type Item, itemSchema } from './responses-items.ts';

/** Query of a list. */
export const itemsQuerySchema = z.strictObject({
  limit: z
    .string()
    .regex(/^(?:[1-9][0-9]?|100)$/, 'expected a number from 1 to 100')
    .optional()
    .describe('1 to 100; 20 by default.'),
  order: z.enum(['asc', 'desc']).optional().describe('`desc` (default) has the last item first.'),
  after: z.string().max(128).optional().describe('Id of the item before the first of the page.'),
});

/** A page of items. */
export const itemListSchema = z
  .object({
    object: z.literal('list'),
    data: z.array(itemSchema),
    has_more: z.boolean(),
    first_id: z.string(),
    last_id: z.string(),
  })
  .meta({ id: 'ResponsesItemList' });

export type ItemsQuery = z.output<typeof itemsQuerySchema>;

/**
 * Reads a query.
 *
 * @param query - untrusted; a parameter that is there twice is a list
 * @throws {@link ApiError} `UNKNOWN_PARAMETER`, `UNSUPPORTED_PARAMETER`, `INVALID_TYPE`, `INVALID_VALUE`
 */
export function parseItemsQuery(query: unknown): ItemsQuery {
  // A plain object: the parser of queries makes one without a prototype.
  const fields = { ...(query as Record<string, string>) };
  const include = ['include', 'include[]'].find((name) => Object.hasOwn(fields, name));
  if (include !== undefined) {
    throw new ApiError('UNSUPPORTED_PARAMETER', 'include: items have nothing more', { at: { param: 'include' } });
  }
  const parsed = itemsQuerySchema.safeParse(fields);
  if (!parsed.success) throw refuse(parsed.error.issues, fields);
  return parsed.data;
}

/**
 * One page.
 *
 * @throws {@link ApiError} `INVALID_VALUE` (`after`) if no such item is there
 */
export function listItems(items: readonly Item[], { limit, order, after }: ItemsQuery): z.infer<typeof itemListSchema> {
  const ordered = order === 'asc' ? [...items] : [...items].reverse();
  const at = after === undefined ? -1 : ordered.findIndex(({ id }) => id === after);
  if (after !== undefined && at < 0) throw refuseValue('after', `there is no item '${after}'`);
  const end = at + 1 + Number(limit ?? 20);
  const data = ordered.slice(at + 1, end);
  const [first] = data;
  const last = data.at(-1);
  return {
    object: 'list',
    data,
    has_more: end < ordered.length,
    first_id: first?.id ?? '',
    last_id: last?.id ?? '',
  };
}
