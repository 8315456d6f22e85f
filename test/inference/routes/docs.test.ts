import { describe, expect, it } from 'vitest';
import { openApiDocument } from '../../../inference/openapi/document.ts';
import { buildServer } from '../../../inference/server.ts';
import { toyContext } from '../../support/toy-context.ts';

const app = buildServer(toyContext());

describe('GET /docs', () => {
  it('is a page that loads from this server alone', async () => {
    for (const path of ['/docs', '/docs/']) {
      const page = await app.inject(path);
      expect(page.statusCode).toBe(200);
      const loaded = [...page.body.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, url = '']) => url);
      expect(loaded.length).toBeGreaterThan(4);
      for (const url of loaded) {
        expect(url).toMatch(/^\.?\//);
        const file = await app.inject(new URL(url, `http://localhost${path}`).pathname);
        expect([url, file.statusCode]).toEqual([url, 200]);
      }
      expect(page.body).not.toMatch(/<script(?![^>]* src=)/);
    }
  });

  it('may load nothing else', async () => {
    for (const path of ['/docs/', '/docs/static/swagger-initializer.js']) {
      const policy = String((await app.inject(path)).headers['content-security-policy']);
      expect(policy).toContain("default-src 'none'");
      expect(policy).toContain("script-src 'self';");
      expect(policy).not.toMatch(/https?:|\*|unsafe-eval/);
    }
  });

  it('asks no validator elsewhere', async () => {
    const script = (await app.inject('/docs/static/swagger-initializer.js')).body;
    expect(script).toContain('validatorUrl: null');
  });

  it('shows the document', async () => {
    expect((await app.inject('/docs/json')).json()).toEqual(openApiDocument());
    expect((await app.inject('/docs/yaml')).body).toContain('openapi: 3.1.0');
    expect((await app.inject('/openapi.json')).json()).toEqual(openApiDocument());
  });

  it.each([
    ['/docs/static/../../package.json', 404],
    ['/docs/static/%2e%2e/%2e%2e/index.js', 404],
    ['/docs/static/a%5c..%5cb', 404],
    ['/docs/static/%00', 400],
    ['/docs/nothing', 404],
  ])('gives nothing but its files, and no fault of its own: %s', async (path, status) => {
    const answer = await app.inject(path);
    expect(answer.statusCode).toBe(status);
    expect(answer.json().error.type).toBe('invalid_request_error');
  });

  it('refuses a range that a file does not have', async () => {
    const answer = await app.inject({ url: '/docs/static/swagger-ui.css', headers: { range: 'bytes=99999999-' } });
    expect(answer.statusCode).toBe(400);
  });
});
