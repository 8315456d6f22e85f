/**
 * Standard Schema (v1), the shape that zod, valibot, arktype and others share, and validation by it inside the sandbox.
 *
 * @module
 * @see https://standardschema.dev
 */

import type { JsonObject } from '../../attest/encoding/canonical-json.ts';

/** A schema of any library; `Sent` is what it reads, `Read` what it makes of it. */
export type StandardSchema<Sent = unknown, Read = Sent> = {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<Read> | Promise<SchemaResult<Read>>;
    readonly types?: { readonly input: Sent; readonly output: Read } | undefined;
    /** Standard JSON Schema, where the library has it. */
    readonly jsonSchema?:
      | {
          readonly input: (options: { readonly target: string }) => Record<string, unknown>;
          readonly output: (options: { readonly target: string }) => Record<string, unknown>;
        }
      | undefined;
  };
};

type SchemaResult<Read> =
  | { readonly value: Read; readonly issues?: undefined }
  | { readonly issues: ReadonlyArray<SchemaIssue> };

type SchemaIssue = {
  readonly message: string;
  readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined;
};

/** Most issues that an error names. */
const MOST_ISSUES = 5;

/** A value that its schema refuses; `code` is what the trace records. */
export class SchemaError extends Error {
  override readonly name = 'SchemaError';
  readonly code: 'INPUT_INVALID' | 'OUTPUT_INVALID';

  constructor(code: 'INPUT_INVALID' | 'OUTPUT_INVALID', message: string) {
    super(message);
    this.code = code;
  }
}

/**
 * Validates a value; without a schema it passes as it is.
 *
 * @throws {@link SchemaError} with `code`, naming at most five issues and their places
 */
export async function validate(
  schema: StandardSchema | undefined,
  value: unknown,
  code: SchemaError['code'],
): Promise<unknown> {
  if (schema === undefined) return value;
  const result = await schema['~standard'].validate(value);
  if (result.issues === undefined) return result.value;
  const named = result.issues.slice(0, MOST_ISSUES).map((issue) => `${placeOf(issue)}: ${issue.message}`);
  throw new SchemaError(code, named.join('; '));
}

/** JSON Schema (draft 2020-12) of what a schema reads, or null if its library has none or cannot express it. */
export function toJsonSchema(schema: StandardSchema | undefined): JsonObject | null {
  const converter = schema?.['~standard'].jsonSchema;
  if (converter === undefined) return null;
  try {
    return converter.input({ target: 'draft-2020-12' }) as JsonObject;
  } catch {
    // The standard's word for "not expressible"; validation by the schema itself is not affected.
    return null;
  }
}

function placeOf(issue: SchemaIssue): string {
  let place = '$';
  for (const step of issue.path ?? []) {
    const key = typeof step === 'object' ? step.key : step;
    place += typeof key === 'number' ? `[${key}]` : `.${String(key)}`;
  }
  return place;
}
