/**
 * Whether a given value satisfies a schema: for the values of `enum` and `const` that other keywords stand beside.
 *
 * @module
 */

import { isJsonObject, type Json } from '../../attest/encoding/canonical-json.ts';
import { numberFormat } from './formats.ts';
import { decimalOf } from './number-language.ts';
import type { SchemaNode, TypeName } from './schema-document.ts';
import { type StringCompiler, stringRule } from './string-rules.ts';

/** Whether two values are equal as JSON: objects whatever the order of their members. */
export function equalJson(a: Json, b: Json): boolean {
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((part: Json, i) => equalJson(part, b[i] as Json));
  }
  if (isJsonObject(a) && isJsonObject(b)) {
    const keys = Object.keys(a);
    return (
      keys.length === Object.keys(b).length &&
      keys.every((key) => Object.hasOwn(b, key) && equalJson(a[key] as Json, b[key] as Json))
    );
  }
  return a === b;
}

/** Whether a value is of a type; a whole number is of both `integer` and `number`. */
export function isOfType(value: Json, type: TypeName): boolean {
  switch (type) {
    case 'null':
      return value === null;
    case 'integer':
      return Number.isInteger(value);
    case 'array':
      return Array.isArray(value);
    case 'object':
      return isJsonObject(value);
    default:
      return typeof value === type;
  }
}

const scalarsOf = new WeakMap<SchemaNode, ReadonlySet<Json>>();

/** Whether a value is among those that a schema lists; true where it lists none. */
function isListed(value: Json, node: SchemaNode): boolean {
  if (node.values === undefined) return true;
  if (typeof value === 'object' && value !== null) return node.values.some((one) => equalJson(one, value));
  const scalars = scalarsOf.get(node) ?? new Set(node.values);
  scalarsOf.set(node, scalars);
  return scalars.has(value);
}

/** Whether a value satisfies a schema with all that it refers to. */
export function satisfies(strings: StringCompiler, value: Json, node: SchemaNode): boolean {
  const holds = (part: SchemaNode) => satisfies(strings, value, part);
  return (
    satisfiesAlone(strings, value, node) &&
    (node.reference === undefined || holds(node.reference)) &&
    node.allOf.every(holds) &&
    (node.anyOf.length === 0 || node.anyOf.some(holds)) &&
    (node.oneOf.length === 0 || node.oneOf.filter(holds).length === 1)
  );
}

/** Whether a value satisfies the keywords of a schema that stand in itself, but for `allOf`, `anyOf`, `oneOf`, `$ref`. */
export function satisfiesAlone(strings: StringCompiler, value: Json, node: SchemaNode): boolean {
  if (node.isFalse) return false;
  if (node.types !== undefined && ![...node.types].some((type) => isOfType(value, type))) return false;
  if (!isListed(value, node)) return false;
  if (typeof value === 'number') return satisfiesNumber(value, node);
  if (typeof value === 'string') return strings.satisfies(stringRule([node], false), value);
  if (Array.isArray(value)) return satisfiesArray(strings, value, node);
  return !isJsonObject(value) || satisfiesObject(strings, value, node);
}

function satisfiesNumber(value: number, { number, string }: SchemaNode): boolean {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = number;
  const format = numberFormat(string.format);
  return (
    (format === undefined ||
      ((!format.isWhole || Number.isInteger(value)) && value >= format.min && value <= format.max)) &&
    !(minimum !== undefined && value < minimum) &&
    !(maximum !== undefined && value > maximum) &&
    !(exclusiveMinimum !== undefined && value <= exclusiveMinimum) &&
    !(exclusiveMaximum !== undefined && value >= exclusiveMaximum) &&
    (multipleOf === undefined || isMultiple(value, multipleOf))
  );
}

function isMultiple(value: number, step: number): boolean {
  const [a, b] = [decimalOf(value), decimalOf(step)];
  return (a.digits * 10n ** BigInt(b.scale)) % (b.digits * 10n ** BigInt(a.scale)) === 0n;
}

function satisfiesArray(strings: StringCompiler, value: readonly Json[], { array }: SchemaNode): boolean {
  const { prefixItems, items, minItems = 0, maxItems = Number.POSITIVE_INFINITY } = array;
  return (
    value.length >= minItems &&
    value.length <= maxItems &&
    value.every((part, i) => {
      const schema = prefixItems[i] ?? items;
      return schema === undefined || satisfies(strings, part, schema);
    })
  );
}

function satisfiesObject(strings: StringCompiler, value: { readonly [key: string]: Json }, node: SchemaNode): boolean {
  const { required, minProperties = 0, maxProperties = Number.POSITIVE_INFINITY, propertyNames } = node.object;
  const keys = Object.keys(value);
  return (
    keys.length >= minProperties &&
    keys.length <= maxProperties &&
    required.every((key) => Object.hasOwn(value, key)) &&
    keys.every(
      (key) =>
        (propertyNames === undefined || satisfies(strings, key, propertyNames)) &&
        memberSchemas(strings, node, key).every((schema) => satisfies(strings, value[key] as Json, schema)),
    )
  );
}

/** The schemas that one schema applies to the value of a key. */
export function memberSchemas(strings: StringCompiler, node: SchemaNode, key: string): readonly SchemaNode[] {
  const { properties, patternProperties, additionalProperties } = node.object;
  const found = patternProperties.flatMap(([source, schema]) =>
    strings.matches(source, key, node.path, 'patternProperties') ? [schema] : [],
  );
  const own = properties.get(key);
  if (own !== undefined) return [own, ...found];
  return found.length > 0 || additionalProperties === undefined ? found : [additionalProperties];
}
