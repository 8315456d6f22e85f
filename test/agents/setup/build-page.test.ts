import { appendFileSync, cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { ensurePage } from '../../../agents/setup/build-page.mjs';
import { temporaryFolder } from '../../support/temporary.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

it('builds the page when it is not what the sources say, from modules that a browser has', async () => {
  const root = temporaryFolder();
  for (const path of ['attest', 'agents/setup', 'package.json', 'tsconfig.json']) {
    mkdirSync(join(root, path, '..'), { recursive: true });
    cpSync(join(ROOT, path), join(root, path), { recursive: true });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'));
  const page = join(root, 'dist/attest/inspector/page');
  const built = () =>
    readdirSync(join(page, 'assets'))
      .map((name) => readFileSync(join(page, 'assets', name), 'utf8'))
      .join('\n');
  expect(await ensurePage(root)).toBe(true);
  expect(readFileSync(join(page, 'index.html'), 'utf8')).toMatch(
    /<script type="module"[^>]* src="\.\/assets\/[^"]+"><\/script>/,
  );
  // Nothing that the page's policy would refuse, and no ethers.
  expect(readFileSync(join(page, 'index.html'), 'utf8')).not.toMatch(/<script(?![^>]* src=)|<style|style=|https?:/);
  expect(/TypedDataEncoder|["'`]node:/.test(built())).toBe(false);
  // Nor where it was built, though a test is no production.
  expect(process.env['NODE_ENV']).toBe('test');
  expect(built().includes(root)).toBe(false);
  // The library knows how to write markup; the page never asks it to.
  const sources = readdirSync(join(ROOT, 'attest/inspector/page')).filter((name) => /\.tsx?$/.test(name));
  expect(sources.length).toBeGreaterThan(10);
  for (const name of sources) {
    const text = readFileSync(join(ROOT, 'attest/inspector/page', name), 'utf8');
    expect({
      name,
      found: /(inner|outer|Adjacent|SetInner)HTML|document\.write|\beval\(|srcdoc/.exec(text)?.[0],
    }).toEqual({ name, found: undefined });
  }
  const licences = readFileSync(join(page, 'LICENSES.txt'), 'utf8');
  for (const name of ['preact', '@noble/curves', '@noble/hashes', 'canonicalize']) {
    expect(licences).toMatch(new RegExp(`^${name} \\d+\\.`, 'm'));
  }
  expect(await ensurePage(root)).toBe(false);

  appendFileSync(join(root, 'attest/inspector/page/style.css'), '.added-rule { color: red; }\n');
  expect(await ensurePage(root)).toBe(true);
  expect(built().includes('added-rule')).toBe(true);

  // A module that only the worker has.
  appendFileSync(join(root, 'attest/verify/structure.ts'), "console.debug('added-statement');\n");
  expect(await ensurePage(root)).toBe(true);
  expect(built().includes('added-statement')).toBe(true);

  for (const damage of ['', '{', '[]', '{"tools":"","files":{}}']) {
    writeFileSync(join(page, '.inputs.json'), damage);
    expect(await ensurePage(root)).toBe(true);
  }

  appendFileSync(join(root, 'attest/verify/structure.ts'), "import 'node:fs';\n");
  await expect(ensurePage(root)).rejects.toMatchObject({
    code: 'SYNTAX_ERROR',
    message: expect.stringContaining('node:fs'),
  });
  expect(built().includes('added-statement')).toBe(true);
});
