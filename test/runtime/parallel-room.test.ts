import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import type { Vm } from '../../runtime/sandbox/vm.ts';
import { managed, openManaged } from '../support/managed.ts';

let vm: Vm;
let folder: string;

beforeAll(async () => {
  vm = await openQuickJsVm();
  folder = await mkdtemp(join(tmpdir(), 'parallel-'));
});

afterAll(async () => {
  await vm.close();
  await rm(folder, { recursive: true, force: true });
});

it('forty tools at once, each with calls of its own, all end: eight run side by side', async () => {
  const agent = managed(
    'wide',
    `return (await Promise.all(Array.from({ length: 40 }, (_, i) => call('tool', { name: 'add', input: i })))).length;`,
    {
      limits: { steps: '1000', fuel: '50000000000' },
      tools: {
        add: {
          body: `return (await Promise.all([1, 2, 3].map((length) => call('random.bytes', { length })))).length;`,
          grants: [{ capability: 'random.bytes' }],
        },
      },
    },
  );
  let open = 0;
  let most = 0;
  const manager = await openManaged(vm, folder, [agent], {
    onRecord: (_run, _agent, { kind }) => {
      if (kind === 'tool.start') most = Math.max(most, ++open);
      if (kind === 'tool.end') open -= 1;
    },
  });
  const { run } = await manager.create({ agent: 'wide', input: null });
  expect(await manager.settled(run)).toMatchObject({ status: 'done', output: 40 });
  expect(most).toBe(8);
  await manager.close();
});
