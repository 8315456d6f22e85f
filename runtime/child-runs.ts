/**
 * Runs that other runs ask for: begun for their parents, waited for, and told about.
 *
 * A parent that is put aside is told when its child has ended; a child whose parent is over is cancelled, since nobody is left to ask for it.
 *
 * Spec: `runtime/spec/runs.md#child-runs`.
 *
 * @module
 */

import { type Hex, toHex } from '../attest/core/bytes.ts';
import { readJsonPayload } from '../attest/trace/payload.ts';
import { ControlError } from './control.ts';
import { type ChildCall, type ChildResult, LEFT } from './effects.ts';
import { ManagerError } from './manager-types.ts';
import type { CallerRequest } from './plan.ts';
import type { RunWord } from './queue/ports.ts';
import { readJournal } from './recovery.ts';
import { isOver, type RunStatus } from './run-status.ts';

/** What child runs take from the manager of all runs. */
export type ChildRunPorts = {
  /** Begins a run, or finds the one that was begun; undefined if its agent is not here. */
  readonly begin: (
    caller: CallerRequest,
    parent: { readonly run: Hex; readonly index: string },
  ) => Promise<RunStatus | undefined>;
  readonly statusOf: (run: Hex) => RunStatus | undefined;
  readonly list: () => readonly RunStatus[];
  /** How a run stands when it rests or the signal is aborted. */
  readonly settledUnless: (run: Hex, signal: AbortSignal) => Promise<RunStatus>;
  readonly say: (run: Hex, word: RunWord) => Promise<void>;
  readonly cancel: (run: Hex) => Promise<RunStatus>;
  readonly read: (run: Hex) => AsyncIterable<Uint8Array>;
  /** Whether runs wait for a place. */
  readonly isCrowded: () => Promise<boolean>;
  readonly isClosed: () => boolean;
  readonly onFault: (run: Hex, error: unknown) => void;
};

/** Milliseconds that a parent waits for a child beside it, before it is put aside if others wait for a place. */
const GRACE_MS = 2_000;

/** The child runs of one manager. */
export class ChildRuns {
  readonly #ports: ChildRunPorts;

  constructor(ports: ChildRunPorts) {
    this.#ports = ports;
  }

  /** Runs what a run asks for. */
  async run(call: ChildCall, signal: AbortSignal): Promise<ChildResult | 'suspended' | 'unknown'> {
    const { request, input: inputPayload, limits, parent } = call;
    const input = readJsonPayload(inputPayload, 'body.input');
    const caller: CallerRequest = { request, signature: null, input, inputPayload, limits };
    const status = await this.#ports.begin(caller, { run: toHex(parent.run), index: parent.index.toString() });
    if (status === undefined) return 'unknown';
    if (status.status === 'suspended' || status.status === 'broken') return 'suspended';
    const { run } = status;
    const cancel = () => {
      // Who leaves the parent leaves the child as it stands.
      if (!this.#ports.isClosed() && signal.reason !== LEFT) void this.#cancel(run);
    };
    signal.addEventListener('abort', cancel);
    try {
      const settled = await this.#soon(run);
      return isOver(settled) ? await this.#resultOf(settled) : 'suspended';
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  }

  /** Tells whom it concerns that a run rests: its parent if it is over, itself what became of its children meanwhile. */
  async after(run: Hex): Promise<void> {
    if (this.#ports.isClosed()) return;
    const status = this.#ports.statusOf(run);
    if (status === undefined) return;
    if (isOver(status)) {
      if (status.parent !== null) await this.#tellParent(status.parent.run, BigInt(status.parent.index));
      const left = this.#childrenOf(run).filter(({ status: word }) => word === 'suspended');
      await Promise.all(left.map((child) => this.#ports.cancel(child.run)));
    }
    if (status.status !== 'suspended') return;
    const own = status.parent === null ? undefined : this.#ports.statusOf(status.parent.run);
    if (own !== undefined && isOver(own)) {
      await this.#ports.cancel(run);
      return;
    }
    for (const waiting of status.waiting) {
      if (waiting.for !== 'child') continue;
      const child = this.#childrenOf(run).find(({ parent }) => parent?.index === waiting.index);
      if (child !== undefined && isOver(child)) await this.#tellParent(run, BigInt(waiting.index));
    }
  }

  #childrenOf(run: Hex): readonly RunStatus[] {
    return this.#ports.list().filter(({ parent }) => parent?.run === run);
  }

  /** How a child run stands when it rests; or after a while, if others, and perhaps the child, wait for a place. */
  async #soon(run: Hex): Promise<RunStatus> {
    for (;;) {
      const status = await this.#ports.settledUnless(run, AbortSignal.timeout(GRACE_MS));
      if (status.status !== 'running' || this.#ports.isClosed()) return status;
      if (await this.#ports.isCrowded()) return status;
    }
  }

  async #resultOf({ run, status, output, error }: RunStatus): Promise<ChildResult> {
    const { items } = await readJournal(this.#ports.read(run));
    const last = items.at(-1);
    if (last?.type !== 'checkpoint') throw new ManagerError('WRONG_STATE', `run ${run} has no closed checkpoint`);
    return { run, status: status as ChildResult['status'], output, error, checkpoint: last.checkpoint };
  }

  async #cancel(run: Hex): Promise<void> {
    try {
      await this.#ports.say(run, { type: 'cancel' });
    } catch (error) {
      if (!(error instanceof ControlError) || error.code !== 'RUN_OVER') this.#ports.onFault(run, error);
    }
  }

  async #tellParent(parent: Hex, index: bigint): Promise<void> {
    try {
      const status = this.#ports.statusOf(parent);
      if (status !== undefined && !isOver(status)) await this.#ports.say(parent, { index, type: 'child' });
    } catch (error) {
      // A parent that does not wait for it now hears of it when it is put aside.
      if (!(error instanceof ControlError)) this.#ports.onFault(parent, error);
    }
  }
}
