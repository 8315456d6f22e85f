/**
 * Agents for runs that are killed: each makes requests with the numbers `base … base + count - 1`, each number once,
 * and goes on whatever is answered, so that a whole run has made every one of them.
 *
 * @module
 */

import { utf8 } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import { hashGuestCode } from '../../attest/trace/guest.ts';
import type { ManagedAgent } from '../../runtime/manager-types.ts';
import { fetchFrom, managed } from './managed.ts';
import { infer } from './toy-run.ts';

/** Whose signature decides the approvals of these agents. */
export const APPROVER_KEY = sha256(utf8('toy approver'));

/** Effects of one run, and of each of its child runs. */
const LIMITS = { steps: '5000', wallMs: '7200000', tokens: '1000000', bytes: '50000000', fuel: '9000000000' } as const;

/** Names of the agents that are asked for; the others are their children. */
export const KILLED_AGENTS = ['sequential', 'fan', 'parent', 'asking', 'racing'] as const;

/** The agents, and how many child runs each of them makes. */
export function killedAgents(origin: string): readonly ManagedAgent[] {
  const fetching = fetchFrom(origin, { idempotent: true });
  const approving = { capability: 'human.approve', approvers: [addressOf(APPROVER_KEY)] } as const;
  const post = `
    const post = async (n) => {
      try {
        const { status } = await call('http.fetch', { url: '${origin}/effect', method: 'POST', headers: {}, body: String(n) });
        return status;
      } catch (error) { return error.message; }
    };
    const ask = (text) => call('inference', { ...${JSON.stringify(infer(''))}, messages: [{ content: text, name: null,
      role: 'user', toolCallId: null, toolCalls: [] }] });`;
  const steps = `
    const seen = [];
    for (let i = 0; i < input.count; i++) {
      seen.push(await post(input.base + i));
      if (i % 4 === 0) await call('kv.put', { key: 'at', value: String(i) });
      if (i % 4 === 1) seen.push(await call('kv.get', { key: 'at' }), Math.random() < 2);
      if (i % 4 === 2) seen.push(await call('random.bytes', { length: 4 }));
    }`;
  const work = {
    body: `${post} ${steps} if (input.fails) throw new Error('as asked'); for (; input.spins;); return seen;`,
    grants: [fetching, ...(['kv.get', 'kv.put', 'random.bytes'] as const).map((capability) => ({ capability }))],
  };
  const sequential = managed(
    'sequential',
    `${post} ${steps} seen.push(await ask('sum up ' + seen.length)); return seen;`,
    {
      grants: [fetching],
      limits: LIMITS,
    },
  );
  const small = managed('small', `${post} ${steps} return seen;`, { grants: [fetching], limits: LIMITS });
  const asking = managed(
    'asking',
    `${post}
    const seen = [];
    const half = Math.floor(input.count / 2);
    for (let i = 0; i < half; i++) seen.push(await post(input.base + i));
    const asked = (summary) => call('human.approve', { summary, details: seen.length, timeoutMs: 0 });
    const first = await asked('go on?');
    const [second] = await Promise.all([asked('and now?'), ...Array.from({ length: input.count - half }, (_, i) =>
      post(input.base + half + i))]);
    return { first: first.approved, second: second.note, seen };`,
    { grants: [fetching, approving], limits: LIMITS },
  );
  const fan = managed(
    'fan',
    `${post}
    const tool = (base, count, more) => call('tool', { name: 'work', input: { base, count, ...more } })
      .catch((error) => error.code);
    const seen = [];
    const each = Math.floor(input.count / 8);
    let base = input.base;
    const take = (count) => { base += count; return base - count; };
    for (let round = 0; round < 2; round++) {
      seen.push(await Promise.all([tool(take(each), each, { fails: round === 1 }), tool(take(each), each, {}),
        tool(take(each), each, { spins: round === 0 }), post(take(1)), call('kv.put', { key: 'round', value: String(round) })]));
      seen.push(await call('wallet.send', {}).catch((error) => error.code));
    }
    while (base < input.base + input.count) seen.push(await post(take(1)));
    return { seen, round: await call('kv.get', { key: 'round' }) };`,
    { grants: [fetching], tools: { work }, limits: LIMITS },
  );
  const parent = managed(
    'parent',
    `${post}
    const third = Math.floor(input.count / 3);
    const child = (agent, base, count) => call('run.child', { agent, input: { base, count } }).catch((error) => error.message);
    const [first, second] = await Promise.all([child('small', input.base, third), child('asking', input.base + third, third)]);
    const seen = [];
    for (let i = 2 * third; i < input.count; i++) seen.push(await post(input.base + i));
    return { first, second, seen };`,
    {
      grants: [
        fetching,
        {
          capability: 'run.child',
          agents: [small, asking].map(({ name, agent, limits }) => ({ name, digest: hashGuestCode(agent), limits })),
        },
      ],
      limits: LIMITS,
    },
  );
  const racing = managed(
    'racing',
    `${post}
    const seen = [];
    for (let i = 0; i + 2 < input.count; i += 3) {
      const three = [0, 1, 2].map((n) => post(input.base + i + n).then((status) => [n, status]));
      seen.push(await Promise.race([...three, call('clock.now', {})]));
      seen.push(await Promise.race(three));
      seen.push(await Promise.all([...three, ask('race ' + i).then(({ text }) => text)]));
    }
    for (let i = input.count - input.count % 3; i < input.count; i++) seen.push(await post(input.base + i));
    return seen;`,
    { grants: [fetching], limits: LIMITS },
  );
  // The spinning tool ends by its fuel, and soon.
  const tools = new Map(
    [...fan.tools].map(([name, code]) => [name, { ...code, limits: { ...code.limits, fuel: '6000000' } }]),
  );
  return [sequential, { ...fan, tools }, parent, asking, racing, small];
}

/** What an agent of these is given. */
export function killedInput(base: number, count: number): Json {
  return { base, count };
}
