import { describe, expect, it } from 'vitest';
import type { Json, JsonObject } from '../../../attest/encoding/canonical-json.ts';
import { RUN_OPERATIONS, runApiDocument } from '../../../runtime/api/operations.ts';
import { openApiJudge } from '../../support/api-document.ts';
import { openRunApi } from '../../support/run-api.ts';

const DOCUMENT = runApiDocument();

/** Routes of the page, as far as the regular expression finds them in the tree. */
const DOCS = ['/docs', '/', '/index.html', '/swagger-initializer.js'];

function refsIn(value: Json): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    key === '$ref' && typeof inner === 'string' ? [inner] : refsIn(inner as Json),
  );
}

describe("the document of the runtime's API", () => {
  it('has every route of the server, and no other', async () => {
    const { app } = await openRunApi();
    await app.ready();
    for (const { method, path } of RUN_OPERATIONS) {
      const url = path.replace(/\{(\w+)\}/g, ':$1');
      expect([url, app.hasRoute({ method: method.toUpperCase(), url })]).toEqual([url, true]);
    }
    const known = RUN_OPERATIONS.map(
      ({ method, path }) => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`,
    );
    const routes = app.printRoutes({ commonPrefix: false });
    const found = [...routes.matchAll(/(\/\S*) \(([A-Z, ]+)\)/g)].flatMap(([, route = '', methods = '']) =>
      methods
        .split(', ')
        .filter((method) => method !== 'HEAD')
        .map((method) => `${method} ${route}`),
    );
    // Printed as a tree: what stands below a parameter is printed without what is above it.
    const whole = found.filter((route) => route.includes(' /v1/') && !route.includes(':'));
    expect(whole.sort()).toEqual(known.filter((route) => route.includes(' /v1/') && !route.includes(':')).sort());
    expect(found).toHaveLength(known.length + DOCS.length);
  });

  it('is well formed: every reference leads somewhere, every example is taken', () => {
    const schemas = (DOCUMENT['components'] as JsonObject)['schemas'] as JsonObject;
    const names = new Set(refsIn(DOCUMENT).map((ref) => ref.replace('#/components/schemas/', '')));
    for (const name of names) expect(Object.keys(schemas)).toContain(name);
    for (const name of Object.keys(schemas)) expect(names).toContain(name);
    const judge = openApiJudge(DOCUMENT);
    for (const { request } of RUN_OPERATIONS) {
      if (request?.example !== undefined) judge.checkAs(request.name, request.example);
    }
  });

  it('says what each id, tag and refusal is', () => {
    const ids = RUN_OPERATIONS.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const tags = (DOCUMENT['tags'] as readonly JsonObject[]).map(({ name }) => name);
    for (const { tag } of RUN_OPERATIONS) expect(tags).toContain(tag);
    expect(JSON.stringify(DOCUMENT)).not.toContain('"Refused."');
    const paths = DOCUMENT['paths'] as JsonObject;
    const open = Object.entries(paths).filter(([, one]) => JSON.stringify(one).includes('"security":[]'));
    expect(open.map(([path]) => path).sort()).toEqual(['/healthz', '/openapi.json', '/readyz']);
  });
});
