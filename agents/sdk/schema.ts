/**
 * Standard Schema (v1), the shape that zod, valibot, arktype and others share, and validation by it inside the sandbox.
 *
 * @module
 * @see https://standardschema.dev
 */

/** A JSON Schema, draft 2020-12 unless it says otherwise. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** A schema of any library; `Sent` is what it reads, `Read` what it makes of it. */
export type StandardSchema<Sent = unknown, Read = Sent> = {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<Read> | Promise<SchemaResult<Read>>;
    readonly types?: { readonly input: Sent; readonly output: Read } | undefined;
    /** Standard JSON Schema, where the library has it. */
    readonly jsonSchema?: {
      readonly input: (options: { readonly target: string }) => Record<string, unknown>;
      readonly output: (options: { readonly target: string }) => Record<string, unknown>;
    };
  };
};

/** What a validation gives: the value that was read, or what is wrong. */
export type SchemaResult<Read> =
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

/**
 * A schema that is JSON Schema alone: what a model is shown, and what an inference server holds an answer to.
 *
 * @param validate - checks and reads a value; without it every value passes, since JSON Schema is not evaluated in the sandbox
 */
export function jsonSchema<T = unknown>(
  schema: JsonSchema,
  validate: (value: unknown) => SchemaResult<T> | Promise<SchemaResult<T>> = (value) => ({ value: value as T }),
): StandardSchema<T> {
  const converter = () => ({ ...schema });
  return {
    '~standard': { version: 1, vendor: 'tracebond', validate, jsonSchema: { input: converter, output: converter } },
  };
}

/**
 * The JSON Schema of what a schema reads, as the text a model is shown: `$schema` left out, the order of members kept, because it
 * is the order in which a model writes them. Null if the schema's library makes none or cannot express it.
 */
export function toJsonSchemaText(
  schema: StandardSchema | undefined,
  side: 'input' | 'output' = 'input',
): string | null {
  const converter = schema?.['~standard'].jsonSchema;
  if (converter === undefined) return null;
  try {
    const { $schema: _dialect, ...shown } = converter[side]({ target: 'draft-2020-12' });
    return JSON.stringify(shown);
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
