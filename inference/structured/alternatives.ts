/**
 * Unions multiplied out: a list of schemas that must all hold becomes a list of alternatives, each a list of schemas whose
 * own keywords must all hold, without `$ref`, `allOf`, `anyOf` or `oneOf`.
 *
 * @module
 */

import type { Json } from '../../attest/encoding/canonical-json.ts';
import { GRAMMAR_LIMITS } from './limits.ts';
import type { SchemaNode, TypeName } from './schema-document.ts';
import { schemaError } from './schema-error.ts';

/** Schemas of which only the keywords in themselves count, all at once. */
export type Alternative = readonly SchemaNode[];

/** Multiplies out; remembers what it did for each schema. */
export type Flattener = {
  /** Alternatives of the conjunction. */
  flatten(nodes: readonly SchemaNode[]): readonly Alternative[];
  /** Alternatives that hold in both. */
  both(a: readonly Alternative[], b: readonly Alternative[], path: string): readonly Alternative[];
  /** Schemas with `oneOf` met so far: their branches must exclude each other. */
  readonly exclusive: ReadonlySet<SchemaNode>;
};

/** Opens a flattener. */
export function openFlattener(): Flattener {
  const known = new Map<SchemaNode, readonly Alternative[]>();
  const open = new Set<SchemaNode>();
  const exclusive = new Set<SchemaNode>();

  const both: Flattener['both'] = (a, b, path) => {
    const found = new Map<string, Alternative>();
    for (const left of a) {
      for (const right of b) {
        const joined = [...new Set([...left, ...right])];
        if (isContradictory(joined)) continue;
        found.set(joined.map(({ id }) => id).join(), joined);
        // attacker-controlled: every union doubles them
        if (found.size > GRAMMAR_LIMITS.alternatives) {
          throw schemaError('SCHEMA_TOO_LARGE', path, '', `more than ${GRAMMAR_LIMITS.alternatives} alternatives`);
        }
      }
    }
    return [...found.values()];
  };
  const union = (branches: readonly SchemaNode[], path: string): readonly Alternative[] => {
    const all = branches.flatMap((branch) => ofNode(branch));
    if (all.length > GRAMMAR_LIMITS.alternatives) {
      throw schemaError('SCHEMA_TOO_LARGE', path, '', `more than ${GRAMMAR_LIMITS.alternatives} alternatives`);
    }
    return all;
  };
  const ofNode = (node: SchemaNode): readonly Alternative[] => {
    const found = known.get(node);
    if (found !== undefined) return found;
    if (open.has(node))
      throw schemaError('SCHEMA_MALFORMED', node.path, '$ref', 'schema refers to itself for the same value');
    open.add(node);
    let result: readonly Alternative[] = node.isFalse || isContradictory([node]) ? [] : [[node]];
    if (node.reference !== undefined) result = both(result, ofNode(node.reference), node.path);
    for (const part of node.allOf) result = both(result, ofNode(part), node.path);
    if (node.anyOf.length > 0) result = both(result, union(node.anyOf, node.path), node.path);
    if (node.oneOf.length > 0) {
      if (node.oneOf.length > 1) exclusive.add(node);
      result = both(result, union(node.oneOf, node.path), node.path);
    }
    open.delete(node);
    known.set(node, result);
    return result;
  };
  return {
    exclusive,
    both,
    flatten: (nodes) => nodes.reduce<readonly Alternative[]>((all, node) => both(all, ofNode(node), node.path), [[]]),
  };
}

/** Types that all schemas allow; `integer` only where `number` is not. */
export function typesOf(nodes: Alternative): ReadonlySet<TypeName> {
  const all: readonly TypeName[] = ['null', 'boolean', 'number', 'string', 'array', 'object'];
  const left = new Set<TypeName>(all);
  for (const { types } of nodes) {
    if (types === undefined) continue;
    for (const type of [...left]) {
      if (types.has(type) || (type === 'integer' && types.has('number'))) continue;
      left.delete(type);
      if (type === 'number' && types.has('integer')) left.add('integer');
    }
  }
  return left;
}

/** Whether schemas contradict each other at first sight: by type, by values, by the value of a required property. */
export function isContradictory(nodes: Alternative): boolean {
  if (nodes.some(({ isFalse }) => isFalse)) return true;
  const types = typesOf(nodes);
  if (types.size === 0 || haveNoValue(nodes)) return true;
  if (nodes.length < 2 || types.size > 1 || !types.has('object')) return false;
  const keys = new Set(nodes.flatMap(({ object }) => object.required));
  for (const key of keys) {
    const schemas = nodes.flatMap(({ object }) => object.properties.get(key) ?? []);
    if (schemas.length > 1 && haveNoValue(schemas)) return true;
  }
  return false;
}

function haveNoValue(nodes: readonly SchemaNode[]): boolean {
  const lists = nodes.flatMap(({ values }) => (values === undefined ? [] : [values]));
  const [first, ...others] = lists;
  if (first === undefined) return false;
  // Objects may be written in another order: only scalars are told apart here.
  const isScalar = (value: Json) => typeof value !== 'object' || value === null;
  if (!lists.every((list) => list.every(isScalar))) return false;
  const sets = others.map((list) => new Set(list));
  return !first.some((value) => sets.every((set) => set.has(value)));
}
