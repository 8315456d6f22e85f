import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { main } from '../../../agents/cli/main.ts';
import { trustSigner } from '../../../attest/verify/trust.ts';
import { verifyBundle } from '../../../attest/verify/verifier.ts';
import { startCommand } from '../../support/command.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { OPERATOR, toyRun } from '../../support/toy-run.ts';

it('serves the page, the bundles and a report until it is told to end', async () => {
  const folder = temporaryFolder();
  const { bytes, executor } = await toyRun();
  mkdirSync(join(folder, 'runs'));
  writeFileSync(join(folder, 'runs/a.trace'), bytes);
  writeFileSync(join(folder, 'runs/b.trace'), bytes);
  const ports = { now: () => performance.now(), executor, trust: trustSigner(OPERATOR) };
  const report = { file: '/elsewhere/a.trace', ...(await verifyBundle(ports, [bytes])) };
  writeFileSync(join(folder, 'report.json'), `${JSON.stringify(report)}\n`);
  const command = startCommand(['inspect', join(folder, 'runs'), '--no-open', '--report', join(folder, 'report.json')]);
  const [url] = await command.waitFor(/http:\/\/127\.0\.0\.1:\d+\/[\w-]{22}\//);
  const get = async (path: string) => await fetch(new URL(path, url));
  const page = await (await get('')).text();
  expect(page).toContain('<title>Tracebond inspector</title>');
  for (const [, path] of page.matchAll(/(?:src|href)="(\.\/assets\/[^"]+)"/g)) {
    expect((await get(path ?? '')).status).toBe(200);
  }
  const listing = (await (await get('api/bundles')).json()) as { bundles: { id: string }[]; canVerify: boolean };
  expect(listing.bundles.map(({ id }) => id)).toEqual(['a', 'b']);
  expect(listing.canVerify).toBe(true);
  expect(new Uint8Array(await (await get('api/bundle/a')).arrayBuffer())).toEqual(new Uint8Array(bytes));
  expect(await (await get('api/report/a')).json()).toMatchObject({
    report: { source: 'file', report: { verdict: 'MATCH' } },
  });
  expect(await (await get('api/report/b')).json()).toEqual({ report: null });
  command.child.kill('SIGTERM');
  expect(await command.ended).toBe(0);
});

it('refuses what it cannot serve by code', async () => {
  const folder = temporaryFolder();
  const bundle = join(folder, 'a.trace');
  writeFileSync(bundle, 'x');
  writeFileSync(join(folder, 'bad.json'), '{"verdict":"GOOD"}');
  const said: unknown[] = [];
  const spy = vi.spyOn(console, 'error').mockImplementation((line: unknown) => void said.push(line));
  const codeOf = async (...args: string[]) => {
    expect(await main(['node', 'tracebond', 'inspect', ...args, '--no-open'])).toBe(1);
    return /^tracebond: (\w+):/.exec(String(said.at(-1)))?.[1];
  };
  expect(await codeOf(join(folder, 'nothing'))).toBe('NO_SUCH_BUNDLE');
  expect(await codeOf(temporaryFolder())).toBe('NO_BUNDLES');
  for (const port of ['x', '65536', '-1', '1.5']) expect(await codeOf(bundle, `--port=${port}`)).toBe('BAD_PORT');
  expect(await codeOf(bundle, '--report', join(folder, 'nothing.json'))).toBe('BAD_REPORT');
  expect(await codeOf(bundle, '--report', join(folder, 'bad.json'))).toBe('BAD_REPORT');
  writeFileSync(join(folder, 'empty.json'), '\n');
  expect(await codeOf(bundle, '--report', join(folder, 'empty.json'))).toBe('BAD_REPORT');
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  expect(await codeOf(bundle, `--port=${port}`)).toBe('PORT_IN_USE');
  taken.close();
  spy.mockRestore();
});
