/**
 * `GET /openapi.json`: the API as an OpenAPI 3.1 document. `GET /docs`: the same to read and to try. The page loads nothing from elsewhere, and
 * its policy lets it load nothing else.
 *
 * @module
 */

import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import type { JsonObject } from '../../attest/encoding/canonical-json.ts';

/** Scripts and styles of this server's files alone; the page draws with style attributes that its scripts set. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Adds the routes of a document, which is made when it is first asked for. */
export function addDocs(app: FastifyInstance, document: () => JsonObject, title: string): void {
  app.get('/openapi.json', async () => document());
  // The page asks for a plugin that makes documents from routes; ours is made from the schemas themselves.
  void app.register(documentPlugin(document));
  void app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: POLICY,
    transformSpecificationClone: false,
    transformSpecification: () => document() as unknown as Record<string, never>,
    uiConfig: { deepLinking: true, docExpansion: 'list', persistAuthorization: false },
    theme: { title },
  });
}

function documentPlugin(document: () => JsonObject) {
  return Object.assign(
    async (app: FastifyInstance) => {
      app.decorate('swagger', document);
    },
    // As fastify-plugin marks one: it decorates the instance that it is registered with, and has a name.
    {
      [Symbol.for('skip-override')]: true,
      [Symbol.for('fastify.display-name')]: '@fastify/swagger',
      [Symbol.for('plugin-meta')]: { name: '@fastify/swagger' },
    },
  );
}
