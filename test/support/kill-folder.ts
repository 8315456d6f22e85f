/**
 * Folders of runs in the toy sandbox, and what a crash leaves of them: a copy of the folder while its manager still works.
 *
 * @module
 */

import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import type { Hex } from '../../attest/core/bytes.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { signApproval } from '../../attest/trace/approval.ts';
import { verifyChildren } from '../../attest/verify/child-bundles.ts';
import { trustSigner } from '../../attest/verify/trust.ts';
import { verifyBundle } from '../../attest/verify/verifier.ts';
import type { ManagedAgent, ManagerPorts, RunManager } from '../../runtime/manager-types.ts';
import { OFF_CHAIN } from '../../runtime/plan.ts';
import { createExecutor } from '../../runtime/replay.ts';
import type { Vm } from '../../runtime/sandbox/vm.ts';
import { openManaged } from './managed.ts';
import { temporaryFolder } from './temporary.ts';
import { OPERATOR, toyRecomputer } from './toy-run.ts';

/** Opens a folder of runs; it is closed when the test is over. */
export async function openFolder(
  vm: Vm,
  agents: readonly ManagedAgent[],
  ports: Partial<ManagerPorts> = {},
  folder: string = temporaryFolder(),
  maxActive?: number,
) {
  const faults: string[] = [];
  const onFault = (_run: Hex, error: unknown) => void faults.push(String(error));
  const manager = await openManaged(vm, folder, agents, { onFault, ...ports }, maxActive);
  onTestFinished(() => manager.close());
  return { manager, folder, faults };
}

/** What a crash at this moment would leave. */
export function copyFolder(folder: string): string {
  const copy = mkdtempSync(join(tmpdir(), 'tracebond-test-'));
  onTestFinished(() => rmSync(copy, { recursive: true, force: true }));
  cpSync(folder, copy, { recursive: true });
  return copy;
}

/** Waits until something holds; a test that waits in vain fails by its own time. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(2);
}

/** Waits until a run is over or put aside, whoever sets it going again. */
export async function untilStatus(manager: RunManager, run: Hex, ...words: readonly string[]) {
  await until(() => words.includes(manager.get(run).status));
  return manager.settled(run);
}

/** Verifies a run of a folder with its child runs. */
export function verifyIn(vm: Vm, manager: RunManager, run: Hex, withChildren = true) {
  const ports = {
    executor: createExecutor(vm, toyRecomputer),
    trust: trustSigner(OPERATOR),
    now: () => performance.now(),
  };
  const children = verifyChildren(ports, async (child) => toStream(readFileSync(manager.bundle(child))));
  return verifyBundle(withChildren ? { ...ports, children } : ports, [readFileSync(manager.bundle(run))]);
}

async function* toStream(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** The record at an index, as users see it. */
export async function recordAt(manager: RunManager, run: Hex, index: bigint | string) {
  for await (const view of manager.records(run, BigInt(index))) return view;
  throw new Error(`no record ${index}`);
}

/** A decision on the approval that a run waits for at `index`, signed with a key. */
export async function decide(
  manager: RunManager,
  run: Hex,
  index: string,
  approver: Hex,
  key: Uint8Array,
  decision: { readonly approved: boolean; readonly note: string } = { approved: true, note: '' },
) {
  const { body } = await recordAt(manager, run, index);
  const { request } = body as { readonly request: Hex };
  const place = { run: Buffer.from(run.slice(2), 'hex'), index: BigInt(index), request };
  return { ...decision, approver, signature: signApproval(decision, place, OFF_CHAIN, key) };
}

/** A POST to the one shop that these tests know. */
export const order = (body: string): Json => ({ url: 'http://shop.test/', method: 'POST', headers: {}, body });

/** Text of a fetch's answer. */
export const bodyOf = (value: Json): string => (value as { readonly body: string }).body;
