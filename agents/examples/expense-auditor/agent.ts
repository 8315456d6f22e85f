/**
 * An expense auditor: reads a ledger and a policy, has a language model sort each expense into a category, lets a tool
 * compute totals and flags, and writes a report.
 *
 * @module
 */

import { defineAgent } from 'tracebond';
import { auditExpenses, CATEGORIES, type ClassifiedRow, readLedger, readPolicy } from './tools.ts';

const EXAMPLES = [
  ['Bus ticket to the fair', 'travel'],
  ['Breakfast at a cafe', 'meals'],
  ['Licence for a text editor program', 'software'],
  ['Notebooks and envelopes', 'office'],
  ['Train to Cologne', 'travel'],
  ['Restaurant bill', 'meals'],
  ['Web hosting subscription', 'software'],
  ['Chair for the office', 'office'],
] as const;

const question = (description: string) => ({ role: 'user' as const, content: `Expense: ${description}\nCategory:` });

export default defineAgent({
  name: 'expense-auditor',
  model: 'smollm2-135m-instruct',
  tools: [readLedger, readPolicy, auditExpenses],
  limits: { fuel: 500_000_000, memoryMb: 32 },
  async run(ctx, input: { readonly ledgerUrl: string; readonly policyUrl: string }) {
    const rows = await ctx.tool(readLedger, { url: input.ledgerUrl });
    const limits = await ctx.tool(readPolicy, { url: input.policyUrl });
    const classified: ClassifiedRow[] = [];
    for (const row of rows) {
      const { text } = await ctx.infer({
        messages: [
          { role: 'system', content: 'Name the category of each expense: travel, meals, software or office.' },
          ...EXAMPLES.flatMap(([description, category]) => [
            question(description),
            { role: 'assistant' as const, content: category },
          ]),
          question(row.description),
        ],
        responseFormat: { type: 'choice', choices: [...CATEGORIES] },
        maxTokens: 8,
      });
      classified.push({ ...row, category: text });
    }
    const audit = await ctx.tool(auditExpenses, { rows: classified, limits });
    await ctx.kv.put('last-audit', String(rows.length));
    const text = [
      `Expense report, ${rows.length} expenses`,
      ...audit.totals.map(({ category, cents }) => `${category}: ${cents} cents`),
      ...audit.flags.map(({ id, reason }) => `${id} needs approval: ${reason}`),
    ].join('\n');
    return { at: await ctx.now(), classified, audit, text };
  },
});
