import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verifyBundle } from '../../attest/verify/verifier.ts';
import { seededRandom } from '../support/random.ts';

const PROGRAM = fileURLToPath(new URL('../../agents/cli/tracebond.mjs', import.meta.url));

type Ran = { readonly code: number; readonly stdout: string; readonly stderr: string };
type Demo = {
  bundle: string;
  signer: string;
  contract: string;
  chainId: number;
  honest: { verdict: string };
  classified: { right: number; of: number };
  lies: { name: string; verdict: string; step: number; field: string; expectedStep: number; bundle: string }[];
  equivocation: { size: number; decidedBy: string };
  slash: { before: string; after: string; burned: string; paid: string };
};

let home: string;
let ran: Ran;
let demo: Demo;

const tracebond = (...args: string[]) =>
  new Promise<Ran>((resolve) => {
    const env = { ...process.env, TRACEBOND_HOME: home };
    execFile(process.execPath, [PROGRAM, ...args], { env, maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, stdout, stderr });
    });
  });

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'tracebond-demo-'));
  ran = await tracebond('demo', '--json');
  expect(ran.code, ran.stderr).toBe(0);
  demo = JSON.parse(ran.stdout) as Demo;
}, 300_000);
afterAll(() => rm(home, { recursive: true, force: true }));

describe('the demo', () => {
  it('prints one object: an honest run that matches, three lies found where they stand, a slash', () => {
    expect(ran.stdout.trim().split('\n')).toHaveLength(1);
    expect(demo.honest.verdict).toBe('MATCH');
    expect(demo.classified.of).toBe(12);
    expect(demo.lies.map((lie) => lie.name)).toEqual(['output-token', 'tool-result', 'dropped-record']);
    expect(demo.lies.map((lie) => lie.verdict)).toEqual(['DIVERGED', 'DIVERGED', 'INVALID']);
    for (const lie of demo.lies) expect(lie.step, lie.name).toBe(lie.expectedStep);
    expect(demo.lies[0]?.field).toMatch(/^body\.output\.ids\.\d+$/);
    expect(demo.lies[1]?.field).toBe('body.result.totals.0.cents');
    expect(demo.equivocation).toMatchObject({ decidedBy: 'contract' });
    const { before, after, burned, paid } = demo.slash;
    expect(BigInt(before) - BigInt(after)).toBe(BigInt(burned) + BigInt(paid));
    expect(BigInt(burned)).toBe(BigInt(paid));
    expect(BigInt(burned)).toBeGreaterThan(0n);
    expect(ran.stderr).toContain('SIMULATED');
  });

  it('leaves a bundle that the command verifies by the trust file alone', async () => {
    const verified = await tracebond('verify', demo.bundle, '--json');
    expect(verified.code, verified.stderr).toBe(0);
    expect(JSON.parse(verified.stdout)).toMatchObject({
      file: demo.bundle,
      verdict: 'MATCH',
      signer: demo.signer,
      opened: true,
      seedFrom: 'caller',
    });
    const stranger = await tracebond(
      'verify',
      demo.bundle,
      '--json',
      '--structure',
      '--signer',
      `0x${'12'.repeat(20)}`,
    );
    expect(stranger.code).toBe(2);
  });

  it('verifies against the chain, started again from its state', async () => {
    const verified = await tracebond('verify', demo.bundle, '--json', '--rpc', 'embedded', '--structure');
    expect(JSON.parse(verified.stdout)).toMatchObject({ code: 'STRUCTURE_ONLY', opened: true });
    expect(verified.code).toBe(4);
    const unreachable = await tracebond(
      'verify',
      demo.bundle,
      '--rpc',
      'http://127.0.0.1:1',
      '--contract',
      demo.contract,
    );
    expect(unreachable.code).toBe(1);
    expect(unreachable.stderr).toContain('CHAIN_UNREACHABLE');
  });

  it('exits with the worst verdict of a folder, one object a line', async () => {
    const folder = join(home, 'runs', 'lies');
    const verified = await tracebond('verify', folder, '--json', '--structure');
    const lines = verified.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { file: string; verdict: string });
    expect(lines.map((line) => line.verdict)).toEqual(['INVALID', 'CANNOT_RECOMPUTE', 'CANNOT_RECOMPUTE']);
    expect(verified.code).toBe(2);
  });

  it('has no byte that can be changed without being INVALID', async () => {
    const bytes = await readFile(demo.bundle);
    const random = seededRandom(20);
    const change = () => {
      const copy = Uint8Array.from(bytes);
      const at = random.below(copy.length);
      copy[at] = (copy[at] as number) ^ (1 + random.below(255));
      return { copy, at };
    };
    // Of bundles like this one the campaign `tamper` breaks as many as it is told to.
    for (let i = 0; i < 100; i++) {
      const { copy, at } = change();
      expect((await verifyBundle({ now: () => 0 }, [copy])).verdict, `byte ${at}`).toBe('INVALID');
    }
    const flipped = join(home, 'flipped');
    await mkdir(flipped);
    for (let i = 0; i < 5; i++) await writeFile(join(flipped, `${i}.trace`), change().copy);
    const verified = await tracebond('verify', flipped, '--structure', '--json');
    expect(verified.code).toBe(2);
    const verdicts = verified.stdout.trim().split('\n');
    expect(verdicts).toHaveLength(5);
    for (const line of verdicts) expect(JSON.parse(line)).toMatchObject({ verdict: 'INVALID' });
  }, 400_000);

  it('says what was wrong with its arguments, with exit code 1', async () => {
    for (const [args, said] of [
      [['verify', join(home, 'none.trace')], 'NO_SUCH_BUNDLE'],
      [['verify', join(home, 'chain')], 'NO_BUNDLES'],
      [['verify', demo.bundle, '--signer', 'me'], '--signer'],
      [['verify', demo.bundle, '--contract', demo.contract], '--contract needs --rpc'],
      [['verify', demo.bundle, '--nonsense'], 'nonsense'],
      [['nonsense'], 'nonsense'],
    ] as const) {
      const failed = await tracebond(...args);
      expect(failed.code, args.join(' ')).toBe(1);
      expect(failed.stderr).toContain(said);
    }
  });
});
