/**
 * Reads what a module tells of itself in the sandbox. The module is the developer's, and the operator's policy is made of what it
 * tells, so the form is checked in full.
 *
 * @module
 */

import { z } from 'zod';
import type { Json } from '../attest/encoding/canonical-json.ts';
import { BundleError } from './bundle-error.ts';
import { differInUrlsOnly, FETCH_METHODS } from './sdk/capabilities.ts';
import type { AgentDescription } from './sdk/manifest.ts';

const name = z.string().regex(/^[a-z][a-z0-9_-]{0,63}$/);
const whole = z.int().min(1);
const limits = z.strictObject({ fuel: whole, memoryMb: whole.max(1024) });

const capabilities = z.strictObject({
  fetch: z
    .array(
      z.strictObject({
        url: z.string(),
        methods: z.array(z.enum(FETCH_METHODS)),
        headers: z.array(z.strictObject({ name: z.string(), value: z.string() })),
        idempotent: z.boolean(),
        maxBytes: whole.nullable(),
      }),
    )
    .refine(differInUrlsOnly),
  kv: z.boolean(),
  clock: z.boolean(),
  random: z.boolean(),
  approve: z.boolean(),
  mcp: z
    .array(
      z.strictObject({
        server: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/),
        tool: z.string().min(1).max(128),
        definition: z.string().regex(/^0x[0-9a-f]{64}$/),
        idempotent: z.boolean(),
      }),
    )
    .exactOptional(),
  wallet: z
    .array(
      z.strictObject({
        chain: z.string().regex(/^[1-9][0-9]{0,18}$/),
        calls: z
          .array(
            z.strictObject({
              contract: z
                .string()
                .regex(/^0x[0-9a-f]{40}$/)
                .nullable(),
              selectors: z.array(z.string().regex(/^0x(?:[0-9a-f]{8})?$/)).min(1),
            }),
          )
          .min(1),
      }),
    )
    .exactOptional(),
});

const tool = z.strictObject({
  name,
  description: z.string(),
  language: z.enum(['javascript', 'wasm']),
  inputSchema: z.string().nullable(),
  capabilities,
  limits,
});

const areApart = (names: readonly string[]) => new Set(names).size === names.length;

const manifest = z.strictObject({
  name,
  model: z.string().min(1),
  run: z.enum(['own', 'tool-loop']),
  tools: z.array(tool).refine((tools) => areApart(tools.map((one) => one.name))),
  agents: z.array(name).refine(areApart),
  schemas: z.array(z.string().nullable()),
  limits,
  description: z.string().exactOptional(),
  inputSchema: z.string().exactOptional(),
  outputSchema: z.string().exactOptional(),
});

const description = z.strictObject({
  manifest,
  modules: z.record(name, z.union([z.strictObject({ path: z.string() }), z.strictObject({ base64: z.base64() })])),
  get agents() {
    return z.array(description);
  },
});

/**
 * Reads a description.
 *
 * @param value - untrusted
 * @throws {@link BundleError} `MANIFEST_INVALID` naming the place
 */
export function parseDescription(value: Json): AgentDescription {
  const read = description.safeParse(value);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  throw new BundleError('MANIFEST_INVALID', `the agent describes itself oddly at ${issue?.path.join('.') ?? ''}`);
}
