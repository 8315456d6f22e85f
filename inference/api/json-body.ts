/**
 * Bodies of requests, as the server's strict JSON reader leaves them.
 *
 * @module
 */

import type { FastifyRequest } from 'fastify';
import type { LosslessJson } from '../../attest/encoding/canonical-json.ts';
import { ApiError } from '../api-errors.ts';

/**
 * The body of a request, integers as numbers where a number holds them exactly.
 *
 * @throws {@link ApiError} `INVALID_JSON` if there is none
 */
export function readBody(request: FastifyRequest): LosslessJson {
  if (request.body === undefined) throw new ApiError('INVALID_JSON', 'body is empty');
  return narrow(request.body as LosslessJson);
}

/** The same value with every integer that a number holds exactly as a number; other integers stay `bigint`. */
export function narrow(value: LosslessJson): LosslessJson {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(narrow);
  // Not by assignment, which would take `__proto__` for an order.
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, narrow(field)]));
}

/**
 * A value as JSON text without needless white space, members in their order. Integers beyond 2^53 become the nearest binary64, as in any
 * other JSON reader.
 */
export function toJsonText(value: LosslessJson): string {
  return JSON.stringify(value, (_, field: unknown) => (typeof field === 'bigint' ? Number(field) : field));
}
