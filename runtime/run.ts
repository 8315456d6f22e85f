/**
 * One run of an agent: its code in the sandbox, every effect a pair of records, everything written ahead.
 *
 * L1. Guest code moves only when exactly one delivery is given to it; deliveries are made in the order of their records.
 * L2. A policy record stands before every start, and the start is durable before the effect happens.
 * L3. Effects happen side by side; their ends are recorded one at a time, in the order in which they came.
 * L4. A fault of the host is never recorded as a result of the guest: the run is closed as `abandoned`.
 * L5. A run that cannot be written on (full disk) just ends: its trace has no closed checkpoint and never passes as whole.
 * L6. A run goes on after a crash by being executed again (`past.ts`) until its journal is used up. What was under way then is
 *     sent again under its own record and key if that does nothing twice; else the run waits for a person.
 *
 * Spec: `runtime/spec/runs.md`.
 *
 * @module
 */

import { toHex } from '../attest/core/bytes.ts';
import {
  deniedDelivery,
  failedDelivery,
  type GuestCode,
  type GuestDelivery,
  type ParsedCall,
  parseCall,
  randomValue,
} from '../attest/trace/guest.ts';
import { evaluatePolicy, grantOf } from '../attest/trace/policy.ts';
import type { TraceWriter } from '../attest/trace/writer.ts';
import { deploymentOf } from '../attest/verify/identity.ts';
import { setAlarm } from './alarm.ts';
import { judgeApproval } from './approvals.ts';
import { OutOfBudget } from './budget.ts';
import { ControlError, RunControl, type SpokenWord } from './control.ts';
import { answered, beginEffect, endOf, LEFT, mayRepeat, type Outcome } from './effects.ts';
import { closeRun, type Ending, endingOf, failureOf, Left, readEnd, Stopped } from './ending.ts';
import type { GuestRun } from './guest-run.ts';
import { Guests } from './guests.ts';
import { Inbox } from './inbox.ts';
import { type Guest, Ledger, type Pending, type Started } from './ledger.ts';
import { Past } from './past.ts';
import { hasRoom } from './room.ts';
import type { RunPlan, RunPorts, RunResult, Suspension } from './run-types.ts';
import { HostFault, type VmState } from './sandbox/vm.ts';
import { startOf } from './starts.ts';
import { describeSuspension, expiryOf } from './waiting.ts';

/**
 * Runs an agent until its trace is closed, or until it waits for somebody.
 *
 * @throws {@link JournalError} when the trace cannot be written; the trace is then not closed
 * @throws {@link TraceError} `JOURNAL_MISMATCH`, {@link HostFault} when the journal is not one of this run; it is left as it is
 */
export async function runAgent(ports: RunPorts, plan: RunPlan): Promise<RunResult | Suspension> {
  return new Run(ports, plan).execute();
}

type Event =
  | { readonly type: 'outcome'; readonly index: bigint; readonly outcome: Outcome | 'suspended' | 'stopped' }
  | { readonly type: 'guest'; readonly index: bigint; readonly state: VmState }
  | { readonly type: 'fault'; readonly error: unknown }
  | { readonly type: 'wake' };

class Run {
  readonly #ports: RunPorts;
  readonly #plan: RunPlan;
  readonly #writer: TraceWriter;
  readonly #ledger: Ledger;
  readonly #past: Past;
  readonly #control: RunControl;
  readonly #inbox = new Inbox<Event>();
  /** Words about sends of a wallet that are under way. */
  readonly #early: SpokenWord[] = [];
  readonly #abort = new AbortController();
  readonly #alarms: (() => void)[] = [];
  readonly #guests: Guests;
  /** Moves of tools that are not done. */
  #moving = 0;
  #agent: Guest = { by: null, tool: null, run: undefined };
  /** How the agent's own code ended. */
  #ended: Ending | undefined;
  #deadline = Number.POSITIVE_INFINITY;

  constructor(ports: RunPorts, plan: RunPlan) {
    this.#ports = ports;
    this.#plan = plan;
    this.#writer = ports.writer;
    this.#ledger = new Ledger(ports.writer, plan, ports.onRecord);
    this.#guests = new Guests(ports.vm, ports.writer.state);
    this.#past = new Past(this.#ledger, {
      serve: (pending) => this.#serve(pending),
      give: (guest, delivery, at) => this.#give(guest, delivery, at),
    });
    this.#control = ports.control ?? new RunControl();
  }

  async execute(): Promise<RunResult | Suspension> {
    this.#control.listen(() => {
      if (this.#control.cancelled || this.#control.left) void this.#stop(this.#control.left);
      this.#inbox.push({ type: 'wake' });
    });
    try {
      const { openBody, openPayloads } = this.#plan;
      const { at } = await this.#ledger.append('run.open', openBody, openPayloads);
      this.#deadline = Math.min(Number(at) + Number(openBody.limits.wallMs), 1000 * Number(openBody.deadline));
      this.#alarm(this.#deadline);
      let ending: Ending;
      try {
        const suspension = await this.#work(at);
        if (suspension !== undefined) return suspension;
        ending = this.#ended ?? { status: 'abandoned' };
      } catch (error) {
        if (this.#control.left && (error instanceof Left || error instanceof HostFault)) return this.#asLeft();
        // A journal that was not gone through to its end is left as it is.
        if (this.#writer.next !== undefined) throw error;
        ending = endingOf(error, this.#control.cancelled);
      }
      if (this.#past.closed !== undefined) return await readEnd(this.#writer, this.#past.closed);
      this.#abort.abort();
      await this.#ledger.loseAll(this.#lossOf(ending));
      return await closeRun(this.#ledger, this.#writer, ending);
    } finally {
      this.#control.end();
      for (const word of this.#early) word.refuse(new ControlError('RUN_OVER', 'the run is over or put aside'));
      for (const off of this.#alarms) off();
      // What is still under way now was not ended: the journal could not be written, or the run is put aside.
      await this.#stop(true);
    }
  }

  async #work(at: bigint): Promise<Suspension | undefined> {
    const { agent, input } = this.#plan;
    const run = this.#guests.open({ code: agent, entry: 'agent', input, fuel: this.#ledger.agentLimit, index: 0n, at });
    this.#agent = { by: null, tool: null, run };
    await this.#agentMoved(await run.start());
    try {
      await this.#past.replay();
    } catch (error) {
      // What was not to be had then is not to be had now; how the run was closed for it stands in the journal.
      if (!(error instanceof OutOfBudget) || this.#writer.next === undefined) throw error;
      this.#past.brokenOff = 'out-of-budget';
      await this.#past.replay();
    }
    if (this.#past.closed !== undefined) return undefined;
    if (this.#ended === undefined && this.#past.brokenOff !== undefined) {
      throw new Stopped(this.#past.brokenOff);
    }
    if (this.#writer.brokenOff) throw new Stopped('abandoned');
    for (const started of [...this.#ledger.starts.values()]) await this.#resume(started);
    return this.#goOn();
  }

  #lossOf({ status }: Ending): 'HOST_FAULT' | 'CANCELLED' | 'DEADLINE' {
    if (status === 'abandoned') return 'HOST_FAULT';
    return status === 'out-of-budget' && this.#ports.now() >= this.#deadline ? 'DEADLINE' : 'CANCELLED';
  }

  /** Goes on until the agent has ended (undefined), or until only somebody else can go on. */
  async #goOn(): Promise<Suspension | undefined> {
    for (;;) {
      if (this.#ended !== undefined) return undefined;
      if (this.#control.left) throw new Left('left');
      if (this.#control.cancelled) throw new Stopped('cancelled');
      if (this.#ports.now() >= this.#deadline) throw new OutOfBudget('wallMs');
      if (await this.#expireApproval()) continue;
      const word = this.#control.takeWord();
      const event = word === undefined ? this.#inbox.take() : undefined;
      const call = word === undefined && event === undefined ? this.#takeStartable() : undefined;
      if (word !== undefined) await this.#hear(word);
      else if (event !== undefined) await this.#handle(event);
      else if (call !== undefined) await this.#serve(call);
      else {
        const suspension = await this.#suspend();
        if (suspension !== undefined) return suspension;
        await this.#handle(await this.#inbox.next());
      }
    }
  }

  async #handle(event: Event): Promise<void> {
    if (event.type === 'wake') return;
    if (event.type === 'fault') throw event.error;
    const started = this.#ledger.starts.get(event.index);
    if (started === undefined) return;
    if (event.type === 'guest') await this.#endTool(started, event.state);
    else if (event.outcome === 'suspended') started.waits = 'child';
    else if (event.outcome === 'stopped') started.waits = 'reconciliation';
    else await this.#end(started, event.outcome);
    const early = this.#early.findIndex(({ index }) => index === event.index);
    for (const word of early < 0 ? [] : this.#early.splice(early, 1)) await this.#hear(word);
  }

  /** The next call that can be started now. */
  #takeStartable(): Pending | undefined {
    const { pending } = this.#ledger;
    if (this.#control.paused) return undefined;
    const at = pending.findIndex((candidate) => hasRoom(candidate, this.#ledger, this.#plan.tools));
    return at < 0 ? undefined : pending.splice(at, 1)[0];
  }

  // Waiting for somebody

  /** Puts the run aside if all that is under way waits for somebody, or if it is paused and nothing is under way. */
  async #suspend(): Promise<Suspension | undefined> {
    const open = [...this.#ledger.starts.values()];
    const waiting = open.filter(({ waits }) => waits !== undefined);
    // A tool is no work of its own: it waits for what it started, or its code moves.
    const underWay = open.filter(({ waits, guest }) => waits === undefined && guest === undefined);
    if (underWay.length > 0 || this.#moving > 0) return undefined;
    if (waiting.length === 0 && !this.#control.paused) return undefined;
    await this.#writer.checkpoint();
    return describeSuspension(this.#writer.state.run, waiting, this.#deadline);
  }

  #asLeft(): Suspension {
    const run = toHex(this.#writer.state.run);
    return { run, status: 'suspended', reason: 'left', waiting: [], wakeAt: this.#deadline };
  }

  /** Ends an approval that nobody gave in time. */
  async #expireApproval(): Promise<boolean> {
    for (const started of this.#ledger.starts.values()) {
      if (started.waits !== 'approval' || this.#ports.now() < expiryOf(started)) continue;
      await this.#end(started, { type: 'failed', error: 'TIMEOUT' });
      return true;
    }
    return false;
  }

  /** Takes what somebody said about a start. */
  async #hear(word: SpokenWord): Promise<void> {
    const started = this.#ledger.starts.get(word.index);
    if (word.type === 'reconcile' && started?.parsed.method === 'wallet.send' && started.waits === undefined) {
      // It looks again since the run was taken up: whether somebody has to say anything is known when it stops or ends.
      this.#early.push(word);
      return;
    }
    const expected = word.type === 'approval' ? 'approval' : word.type === 'child' ? 'child' : 'reconciliation';
    if (started === undefined || started.waits !== expected) {
      word.refuse(new ControlError('NOT_WAITING', `no start at ${word.index} waits for ${expected}`));
      return;
    }
    if (word.type === 'approval') {
      const outcome = this.#judge(started, word);
      if (outcome === undefined) return;
      await this.#end(started, outcome);
    } else if (word.type === 'reconcile' && word.how === 'lost') {
      await this.#end(started, { type: 'lost', reason: 'CRASH' });
    } else {
      started.waits = undefined;
      await this.#launch(started);
    }
    word.accept();
  }

  #judge({ owner, head, start }: Started, word: Extract<SpokenWord, { type: 'approval' }>): Outcome | undefined {
    if (start.kind !== 'host.start') return undefined;
    const approvers = grantOf(this.#plan.policy, owner.tool, 'human.approve')?.approvers ?? [];
    const place = { run: this.#writer.state.run, index: head.index, request: start.body.request };
    try {
      const evidence = judgeApproval(word.approval, approvers, place, deploymentOf(this.#plan.openBody));
      return { type: 'host', value: { ...word.approval }, evidence };
    } catch (error) {
      if (!(error instanceof ControlError)) throw error;
      word.refuse(error);
      return undefined;
    }
  }

  // Calls

  /** Decides a call, and starts its effect if it is allowed. */
  async #serve({ guest, call }: Pending): Promise<void> {
    const { state } = this.#writer;
    const { openBody, policy } = this.#plan;
    const parsed = parseCall(call, guest.tool, openBody);
    const capability = call.method.slice(0, 64);
    const asked = parsed.method === 'unknown' ? 'unknown' : parsed.method;
    const decided = evaluatePolicy(
      policy,
      { tool: guest.tool, capability: asked, target: parsed.target },
      { counters: state.counters, open: openBody, wallet: this.#ledger.wallet },
    );
    const { at } = await this.#ledger.append('policy', {
      by: guest.by === null ? null : guest.by.toString(),
      call: call.id,
      ...decided,
      request: { capability, target: parsed.target },
    });
    if (decided.decision === 'deny' || parsed.method === 'unknown') {
      return this.#give(guest, deniedDelivery(call.id, capability, decided.rule), at);
    }
    const code = this.#toolCode(parsed);
    const fuel = code === undefined ? undefined : this.#ledger.toolFuel(code);
    if (fuel === 0n) throw new OutOfBudget('fuel');
    const isPast = this.#writer.next !== undefined;
    const payloads = this.#writer.payloads();
    const start = startOf(parsed, { by: guest.by, tool: guest.tool, call: call.id, state }, this.#plan, payloads);
    const head = await this.#ledger.append(start.kind, start.body, payloads);
    const input = start.kind === 'run.child.start' ? payloads.byCommitment.get(start.body.input) : undefined;
    const started: Started = { head, owner: guest, call, parsed, start, input };
    if (parsed.method !== 'tool' || code === undefined || fuel === undefined) {
      this.#ledger.begin(started);
      // What the journal began is begun again, if at all, when the journal is used up.
      if (!isPast) await this.#launch(started);
      return;
    }
    const isDone = this.#writer.completes(head.index);
    const { name, input: toolInput } = parsed.args;
    const { index, at: startedAt } = head;
    const run = isDone
      ? undefined
      : this.#guests.open({ code, entry: { tool: name }, input: toolInput, fuel, index, at: startedAt });
    const tool = { ...started, fuel, guest: { by: index, tool: name, run } };
    this.#ledger.begin(tool);
    await this.#move(tool, (moving) => moving.start());
  }

  #toolCode(parsed: ParsedCall): GuestCode | undefined {
    if (parsed.method !== 'tool') return undefined;
    const code = this.#plan.tools.get(parsed.args.name);
    if (code === undefined) throw new TypeError(`policy grants the tool ${parsed.target}, which the run does not have`);
    return code;
  }

  /** Goes on with a start that the journal left open. */
  async #resume(started: Started): Promise<void> {
    const { parsed, owner } = started;
    if (parsed.method === 'tool') return;
    if (mayRepeat(parsed, owner.tool, this.#plan.policy)) await this.#launch(started);
    else started.waits = 'reconciliation';
  }

  /** Begins the effect of a start, or ends it at once where there is nothing to wait for. */
  async #launch(started: Started): Promise<void> {
    const { parsed, head } = started;
    const { runSeed } = this.#writer.state;
    switch (parsed.method) {
      case 'tool':
        return;
      case 'clock.now':
        return this.#end(started, answered(this.#ports.now()));
      case 'random.bytes':
        return this.#end(started, answered(randomValue(runSeed, head.index, parsed.args.length)));
      case 'kv.get':
        return this.#end(started, answered(this.#ledger.store.get(parsed.target) ?? null));
      case 'kv.put':
        return this.#end(started, answered(null));
      case 'human.approve':
        started.waits = 'approval';
        // What a person is asked cannot be taken back.
        await this.#writer.checkpoint();
        this.#alarm(expiryOf(started));
        return;
      case 'wallet.send':
        // What is sent cannot be taken back.
        await this.#writer.checkpoint();
        break;
      default:
    }
    const { index } = head;
    beginEffect(this.#ports, started, this.#plan, this.#writer.state, this.#abort.signal).then(
      (outcome) => this.#inbox.push({ type: 'outcome', index, outcome }),
      (error) => this.#inbox.push({ type: 'fault', error }),
    );
  }

  /** Records the end of a start and delivers it. */
  async #end(started: Started, outcome: Outcome): Promise<void> {
    const { index } = started.head;
    const { id } = started.call;
    if (outcome.type === 'lost') {
      const { at } = await this.#ledger.lose(started, outcome.reason);
      return this.#give(started.owner, failedDelivery(id, outcome.reason), at);
    }
    const payloads = this.#writer.payloads();
    const end = endOf(outcome, payloads, id);
    const { at } = await this.#ledger.append(end.kind, end.body, payloads, index);
    this.#ledger.settle(started, end, end.delivery);
    await this.#give(started.owner, end.delivery, at);
  }

  // Guests

  /** Gives a guest one delivery: the agent moves before anything else happens, a tool by itself. */
  async #give(guest: Guest, delivery: GuestDelivery | undefined, at: bigint): Promise<void> {
    const { run } = guest;
    // A tool that is not run again, and an agent that has ended, hear nothing.
    if (run === undefined || delivery === undefined || (guest.by === null && this.#ended !== undefined)) return;
    if (guest.by === null) return this.#agentMoved(await run.deliver(delivery, Number(at)));
    const started = this.#ledger.starts.get(guest.by);
    if (started !== undefined) await this.#move(started, (moving) => moving.deliver(delivery, Number(at)));
  }

  /** Moves a tool: side by side with others, but amid the past one step after the other. */
  async #move({ guest, head }: Started, step: (run: GuestRun) => Promise<VmState>): Promise<void> {
    if (guest?.run === undefined) return;
    this.#moving += 1;
    const moved = step(guest.run).then(
      (state) => {
        this.#moving -= 1;
        this.#ledger.pending.push(...state.calls.map((call) => ({ guest, call })));
        if (state.status === 'waiting') this.#inbox.push({ type: 'wake' });
        else this.#inbox.push({ type: 'guest', index: head.index, state });
      },
      (error) => this.#inbox.push({ type: 'fault', error }),
    );
    if (this.#writer.next !== undefined) await moved;
  }

  /** Records what a tool came to, and delivers it. */
  async #endTool({ guest, head, owner, call }: Started, state: VmState): Promise<void> {
    if (guest === undefined || state.status === 'waiting') return;
    // What it started is of no use to anybody any more.
    this.#ledger.drop(guest);
    await this.#ledger.loseAll('CANCELLED', guest);
    const payloads = this.#writer.payloads();
    const result = state.status === 'done' ? payloads.json(state.value) : null;
    const error = failureOf(state, payloads);
    const body = { bytes: payloads.bytes, error, fuel: state.fuelUsed.toString(), result };
    const { at } = await this.#ledger.append('tool.end', body, payloads, head.index);
    this.#ledger.starts.delete(head.index);
    await this.#guests.end(guest);
    const { id } = call;
    await this.#give(
      owner,
      state.status === 'done' ? { id, ok: true, value: state.value } : { id, ok: false, error: state.error },
      at,
    );
  }

  /** Records what the agent did, and takes its calls. */
  async #agentMoved(state: VmState): Promise<void> {
    if (!this.#past.admitsAgent()) return;
    const payloads = this.#writer.payloads();
    const output = state.status === 'done' ? payloads.json(state.value) : null;
    const error = failureOf(state, payloads);
    const fuel = (state.fuelUsed - this.#ledger.agentFuel).toString();
    const calls = state.calls.map((call) => ({ id: call.id, method: call.method.slice(0, 64) }));
    await this.#ledger.append('agent', { bytes: payloads.bytes, calls, error, fuel, output }, payloads);
    this.#ledger.agentFuel = state.fuelUsed;
    this.#ledger.pending.push(...state.calls.map((call) => ({ guest: this.#agent, call })));
    if (state.status === 'done') this.#ended = { status: 'done', output: state.value };
    if (state.status === 'failed') this.#ended = { status: 'failed', error: state.error };
  }

  /** Ends all guests, whatever they do, and what is under way outside. */
  async #stop(isLeft: boolean): Promise<void> {
    this.#abort.abort(isLeft ? LEFT : undefined);
    await this.#guests.close();
  }

  #alarm(at: number): void {
    this.#alarms.push(setAlarm(at, this.#ports.now, () => this.#inbox.push({ type: 'wake' })));
  }
}
