/**
 * What a user writes in a fresh project: agents in TypeScript and JavaScript, and programs that import the package.
 *
 * @module
 */

/** Strict settings, with the declarations of the packages checked as well. */
export const TSCONFIG = JSON.stringify({
  compilerOptions: {
    target: 'es2023',
    module: 'nodenext',
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    noPropertyAccessFromIndexSignature: true,
    skipLibCheck: false,
    noEmit: true,
    types: [],
  },
  include: ['*.ts', '*.mts'],
});

/** A tool that computes, with a schema; no inference. */
export const ADDER = `import { defineAgent, defineTool } from 'tracebond';
import { z } from 'zod';

const add = defineTool({
  name: 'add',
  description: 'Adds whole numbers.',
  inputSchema: z.object({ numbers: z.array(z.number().int()) }),
  limits: { fuel: 200_000_000, memoryMb: 16 },
  execute: ({ numbers }) => numbers.reduce((sum, number) => sum + number, 0),
});

export default defineAgent({
  name: 'adder',
  model: 'smollm2-135m-instruct',
  tools: [add],
  limits: { fuel: 200_000_000, memoryMb: 16 },
  async run(ctx, input: { readonly numbers: number[] }): Promise<{ readonly total: number }> {
    return { total: await ctx.tool(add, { numbers: input.numbers }) };
  },
});
`;

/** Asks the model; an ES module by its name. */
export const ASKER = `import { defineAgent, type InferAnswer } from 'tracebond';

export default defineAgent({
  name: 'asker',
  model: 'smollm2-135m-instruct',
  async run(ctx, input: { readonly country: string }) {
    const answer: InferAnswer = await ctx.infer({
      messages: [{ role: 'user', content: \`What is the capital of \${input.country}? One word.\` }],
      maxTokens: 12,
    });
    return { text: answer.text };
  },
});
`;

/** In JavaScript. */
export const SHOUTER = `import { defineAgent } from 'tracebond';

export default defineAgent({
  name: 'shouter',
  model: 'smollm2-135m-instruct',
  async run(ctx, input) {
    await ctx.kv.put('said', input.text);
    return { text: \`\${await ctx.kv.get('said')}!\`.toUpperCase() };
  },
});
`;

/** A program that imports the package: prints its names, and what one agent declares. */
export const PROGRAM = `import * as sdk from 'tracebond';

const agent = sdk.defineAgent({ name: 'here', model: 'none', run: () => null });
console.log(JSON.stringify({ names: Object.keys(sdk).sort(), name: sdk.agentManifest(agent).name }));
`;

/** The same as CommonJS. */
export const PROGRAM_COMMONJS = `const sdk = require('tracebond');

const agent = sdk.defineAgent({ name: 'here', model: 'none', run: () => null });
console.log(JSON.stringify({ names: Object.keys(sdk).sort(), name: sdk.agentManifest(agent).name }));
`;
