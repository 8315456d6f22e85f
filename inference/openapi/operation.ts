/**
 * One operation of the API as its document tells it.
 *
 * @module
 */

import type { z } from 'zod';

/** A schema with the name under which the document has it. */
export type NamedSchema = { readonly name: string; readonly schema: z.ZodType };

/** A body of one media type. */
export type Body = {
  readonly description: string;
  /** JSON of this schema; other media types are text. */
  readonly json?: NamedSchema;
  /** Data of the events of a stream. */
  readonly events?: NamedSchema;
  /** A media type that is neither. */
  readonly text?: string;
};

/** An operation: the method at a path. */
export type Operation = {
  readonly method: 'get' | 'post' | 'delete';
  /** With parameters in braces. */
  readonly path: string;
  readonly id: string;
  /** One of the tags of its API. */
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  /** What the parameters in the path are. */
  readonly parameters?: Readonly<Record<string, string>>;
  /** An object of the parameters after the question mark. */
  readonly query?: z.ZodType;
  /** An object of the headers that it looks at. */
  readonly headers?: z.ZodType;
  readonly request?: NamedSchema & { readonly example?: unknown };
  readonly response: Body;
  /** Of the response; 200 by default. */
  readonly status?: number;
  /** Statuses of refusals besides those that every route has. */
  readonly refusals?: readonly number[];
  /** Whether it is answered without an access key also where keys are in force. */
  readonly isPublic?: boolean;
};
