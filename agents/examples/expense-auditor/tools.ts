/**
 * Tools of the expense auditor. Amounts are integers in cents: records hold no floating point numbers.
 *
 * @module
 */

import { defineTool } from 'tracebond';

/** Categories that the model may choose from. */
export const CATEGORIES = ['travel', 'meals', 'software', 'office'] as const;

/** One row of the ledger. */
export type Row = {
  readonly id: string;
  readonly date: string;
  readonly employee: string;
  readonly description: string;
  readonly cents: number;
};

/** Greatest amount of a category, in cents. */
export type Limit = { readonly category: string; readonly cents: number };

/** A row with the category that the model gave it. */
export type ClassifiedRow = Row & { readonly category: string };

/** Reads the ledger, comma-separated, from the books' server. */
export const readLedger = defineTool({
  name: 'read_ledger',
  description: 'Reads the expense ledger and returns its rows.',
  capabilities: { fetch: ['http://127.0.0.1:*'] },
  limits: { fuel: 200_000_000, memoryMb: 16 },
  async execute(input: { readonly url: string }, ctx) {
    const lines = (await fetchText(ctx, input.url)).trim().split('\n');
    const header = lines[0];
    if (header !== 'id,date,employee,description,cents') throw new Error(`unknown ledger header ${header}`);
    return lines.slice(1).map((line, i): Row => {
      const [id, date, employee, description, cents, ...rest] = line.split(',');
      if (cents === undefined || rest.length > 0 || !/^[0-9]+$/.test(cents)) throw new Error(`bad ledger row ${i + 1}`);
      return {
        id: id ?? '',
        date: date ?? '',
        employee: employee ?? '',
        description: description ?? '',
        cents: Number(cents),
      };
    });
  },
});

/** Reads the policy text and finds its limits, lines such as `limit meals 100.00`. */
export const readPolicy = defineTool({
  name: 'read_policy',
  description: 'Reads the expense policy and returns the limit of each category.',
  capabilities: { fetch: ['http://127.0.0.1:*'] },
  limits: { fuel: 200_000_000, memoryMb: 16 },
  async execute(input: { readonly url: string }, ctx) {
    const limits: Limit[] = [];
    for (const line of (await fetchText(ctx, input.url)).split('\n')) {
      const found = /^limit ([a-z]+) ([0-9]+)\.([0-9]{2})$/.exec(line);
      if (found !== null) limits.push({ category: found[1] ?? '', cents: Number(found[2]) * 100 + Number(found[3]) });
    }
    return limits;
  },
});

/** Adds up each category and flags what is above its limit. */
export const auditExpenses = defineTool({
  name: 'audit_expenses',
  description: 'Totals per category, and the expenses that need approval.',
  limits: { fuel: 200_000_000, memoryMb: 16 },
  async execute(input: { readonly rows: readonly ClassifiedRow[]; readonly limits: readonly Limit[] }) {
    const totals = input.limits.map(({ category }) => ({
      category,
      cents: input.rows.filter((row) => row.category === category).reduce((sum, row) => sum + row.cents, 0),
    }));
    const flags = input.rows.flatMap((row) => {
      const limit = input.limits.find((candidate) => candidate.category === row.category);
      if (limit === undefined) return [{ id: row.id, reason: `no limit for ${row.category}` }];
      return row.cents > limit.cents ? [{ id: row.id, reason: `${row.cents} cents above ${limit.cents}` }] : [];
    });
    return { totals, flags };
  },
});

async function fetchText(
  ctx: { fetch(url: string): Promise<{ readonly status: number; readonly body: string }> },
  url: string,
): Promise<string> {
  const response = await ctx.fetch(url);
  if (response.status !== 200) throw new Error(`${url} answered ${response.status}`);
  return response.body;
}
