/**
 * An OpenAPI 3.1 document of our own as a judge: whether a response is one that it describes for its path, method and status.
 *
 * @module
 */

import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import type { Json, JsonObject } from '../../attest/encoding/canonical-json.ts';

/** Validators over a document. */
export type ApiDocument = {
  /** A response as it came. @throws Error if the document has no such one, or describes it otherwise */
  check(method: string, path: string, status: number, type: string, body: string): void;
  /** A value against one of the document's schemas. @throws Error */
  checkAs(schema: string, value: unknown): void;
};

/** Prepares a document. */
export function openApiJudge(document: JsonObject): ApiDocument {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  ajv.addSchema({ $id: 'document', ...document });
  const compiled = new Map<string, ValidateFunction>();
  const check = (pointer: string, value: unknown) => {
    const validate = compiled.get(pointer) ?? ajv.compile({ $ref: `document${pointer}` });
    compiled.set(pointer, validate);
    if (!validate(value)) throw new Error(`${JSON.stringify(value).slice(0, 400)}: ${ajv.errorsText(validate.errors)}`);
  };
  return {
    checkAs: (schema, value) => check(`#/components/schemas/${schema}`, value),
    check(method, path, status, type, body) {
      const template = Object.keys(document['paths'] as JsonObject).find((one) =>
        new RegExp(`^${one.replace(/\{\w+\}/g, '[^/]+')}$`).test(path.replace(/\?.*$/, '')),
      );
      const operation = at(document, 'paths', template ?? '', method.toLowerCase());
      // A route that is not there has the refusals of any.
      if (operation === undefined) return check('#/components/schemas/Error', JSON.parse(body));
      const content = at(operation, 'responses', String(status), 'content');
      if (content === undefined) throw new Error(`${method} ${path} describes no ${status}: ${body.slice(0, 400)}`);
      const media = type.replace(/;.*$/, '');
      const schema = at(content, media, 'schema');
      if (schema === undefined) throw new Error(`${method} ${path} ${status} describes no ${media}`);
      if (media === 'application/json') check(String((schema as JsonObject)['$ref']), JSON.parse(body));
    },
  };
}

function at(value: Json | undefined, ...path: readonly string[]): Json | undefined {
  let found = value;
  for (const step of path) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, step)) return undefined;
    found = (found as JsonObject)[step];
  }
  return found;
}
