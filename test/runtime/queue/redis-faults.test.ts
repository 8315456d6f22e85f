/** What a server that fails, forgets, refuses or is written by others does to runs. */

import { rmSync } from 'node:fs';
import { type AddressInfo, createConnection, createServer, type Server, type Socket } from 'node:net';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Hex, utf8 } from '../../../attest/core/bytes.ts';
import { RunControl } from '../../../runtime/control.ts';
import { parseRedisUrl } from '../../../runtime/queue/redis-connect.ts';
import { openRedisMachinery } from '../../../runtime/queue/redis-machinery.ts';
import { collect, ending, events, overStatus, runningStatus, someRun, until } from '../../support/queue-suite.ts';
import { type RedisServerProcess, startRedis } from '../../support/redis-server.ts';
import { temporaryFolder } from '../../support/temporary.ts';

let server: RedisServerProcess;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.close());

let sets = 0;
type Options = Partial<Parameters<typeof openRedisMachinery>[0]>;

async function open(options: Options = {}) {
  const prefix = options.prefix ?? `faults-${sets++}`;
  const faults: unknown[] = [];
  const onFault = (_run: Hex | undefined, error: unknown) => void faults.push(error);
  const opened = await openRedisMachinery({ url: server.url, folder: temporaryFolder(), onFault, ...options, prefix });
  onTestFinished(async () => {
    await opened.queue.close();
    await opened.inbox.close();
    await opened.store.close();
  });
  const told = events();
  await opened.store.open(told.listener);
  return { ...opened, prefix, told, faults };
}

/** A client beside, which writes what it likes. */
function stranger(): Redis {
  const client = new Redis({ port: server.port, host: '127.0.0.1' });
  client.on('error', () => undefined);
  onTestFinished(() => client.disconnect());
  return client;
}

async function begin({ store }: Awaited<ReturnType<typeof open>>): Promise<Hex> {
  const run = someRun();
  await store.create(runningStatus(run), utf8('begin\n'));
  return run;
}

describe('what a server must be', () => {
  const refusals = [
    ['nothing is kept', ['--appendonly', 'no', '--save', ''], 'always', 'appendonly'],
    ['nothing is kept, and that is trusted to be fine', ['--appendonly', 'no', '--save', ''], 'everysec', 'appendonly'],
    ['a second may be lost', ['--appendonly', 'yes', '--appendfsync', 'everysec'], 'always', 'appendfsync'],
    ['the system decides when', ['--appendonly', 'yes', '--appendfsync', 'no'], 'everysec', 'appendfsync'],
    [
      'keys are evicted',
      ['--appendonly', 'yes', '--appendfsync', 'always', '--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru'],
      'trusted',
      'maxmemory-policy',
    ],
    [
      'it does not tell',
      ['--appendonly', 'yes', '--appendfsync', 'always', '--rename-command', 'CONFIG', ''],
      'always',
      'appendonly',
    ],
  ] as const;
  test.each(refusals)('%s: refused, with what to set', async (_name, settings, durability, setting) => {
    const other = await startRedis(settings);
    onTestFinished(() => other.close());
    const opening = openRedisMachinery({ url: other.url, folder: temporaryFolder(), durability });
    await expect(opening).rejects.toMatchObject({ code: 'QUEUE_NOT_DURABLE', at: { setting } });
  });

  test('what is lost in a second is accepted if it is said, and silence if it is trusted', async () => {
    const everysec = await startRedis(['--appendonly', 'yes', '--appendfsync', 'everysec']);
    onTestFinished(() => everysec.close());
    await open({ url: everysec.url, durability: 'everysec' });
    const silent = await startRedis([
      '--appendonly',
      'yes',
      '--appendfsync',
      'always',
      '--rename-command',
      'CONFIG',
      '',
    ]);
    onTestFinished(() => silent.close());
    await open({ url: silent.url, durability: 'trusted' });
  });

  test('a server that asks for a password gets the one of the address, and no error shows it', async () => {
    const locked = await startRedis(['--appendonly', 'yes', '--appendfsync', 'always', '--requirepass', 'open sesame']);
    onTestFinished(() => locked.close());
    await open({ url: `redis://:open%20sesame@127.0.0.1:${locked.port}/3` });
    const opening = openRedisMachinery({
      url: `redis://:wrong-word@127.0.0.1:${locked.port}`,
      folder: temporaryFolder(),
      patienceMs: 300,
    });
    const error = await opening.then(
      () => undefined,
      (caught: Error) => caught,
    );
    expect(error).toMatchObject({ code: 'QUEUE_UNREACHABLE', message: expect.stringContaining('WRONGPASS') });
    expect(JSON.stringify(error) + String(error?.stack) + String(error?.cause)).not.toMatch(/wrong-word|sesame/);
  });

  test('an address that is none is not shown', () => {
    for (const url of [
      'secret',
      'http://:secret@h',
      'redis://:secret@',
      'redis://:secret@h/name',
      'redis://:%zzsecret@h',
      'redis://:secret@h:99999',
    ]) {
      const parse = () => parseRedisUrl(url);
      expect(parse, url).toThrow(expect.objectContaining({ code: 'QUEUE_UNSUPPORTED' }));
      try {
        parse();
      } catch (error) {
        expect(String((error as Error).stack)).not.toContain('secret@');
        expect((error as Error).message).not.toContain('secret');
      }
    }
    expect(parseRedisUrl('rediss://name:p%40ss@[::1]:7000/2')).toEqual({
      place: '[::1]:7000',
      options: { host: '::1', port: 7000, db: 2, username: 'name', password: 'p@ss', tls: { servername: '::1' } },
    });
  });

  test('a server that is not there is told after the time of patience', async () => {
    const opening = openRedisMachinery({ url: 'redis://127.0.0.1:1', folder: temporaryFolder(), patienceMs: 100 });
    await expect(opening).rejects.toMatchObject({ code: 'QUEUE_UNREACHABLE', at: { place: '127.0.0.1:1' } });
  });
});

describe('a server that goes away', () => {
  test('killed and restarted amid appends, it has each of them once', async () => {
    const own = await startRedis();
    onTestFinished(() => own.close());
    const machinery = await open({ url: own.url });
    const run = await begin(machinery);
    const claim = await machinery.store.claim(run);
    const journal = await claim.proceed(6);
    const lines: string[] = [];
    const writing = (async () => {
      for (let i = 0; i < 150; i++) {
        await journal.append(utf8(`line ${i}\n`));
        lines.push(`line ${i}\n`);
        if (i % 10 === 0) await claim.signed.append(utf8(`signed ${i}\n`));
      }
    })();
    for (const at of [30, 90]) {
      await until(() => lines.length > at);
      await own.kill();
      await own.start();
    }
    await writing;
    expect(await collect(claim.read())).toBe(`begin\n${lines.join('')}`);
    const signed = Array.from({ length: 15 }, (_, i) => `signed ${10 * i}\n`).join('');
    expect(Buffer.from(await claim.signed.read()).toString()).toBe(signed);
    // Words, replies and the queue go on too.
    const control = new RunControl();
    const hearing = await machinery.inbox.attach(run, control);
    const said = await machinery.inbox.say(run, { type: 'cancel' });
    expect(await ending(said.heard)).toBe('heard');
    await hearing.close();
    await claim.release();
    const taken: Hex[] = [];
    machinery.queue.work(async (job) => {
      taken.push(job.run);
      return 'rested';
    });
    await until(() => taken.includes(run));
  });

  test('gone for longer than patience, an append says so, and the journal is read again', async () => {
    const own = await startRedis();
    onTestFinished(() => own.close());
    const machinery = await open({ url: own.url, patienceMs: 250 });
    const run = await begin(machinery);
    const claim = await machinery.store.claim(run);
    const journal = await claim.proceed(6);
    await own.kill();
    const error = await journal.append(utf8('lost\n')).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ name: 'JournalError', code: 'JOURNAL_UNREACHABLE' });
    await own.start();
    // Nothing follows an append of which nobody knows.
    await expect(journal.append(utf8('more\n'))).rejects.toBe(error);
    await claim.release();
    await until(async () => {
      const again = await machinery.store.claim(run).catch(() => undefined);
      return again !== undefined;
    });
    expect(await collect(machinery.store.read(run))).toBe('begin\n');
  });

  test('an append whose reply is lost is there once', async () => {
    const proxy = await openProxy(server.port);
    const machinery = await open({ url: `redis://127.0.0.1:${proxy.port}`, timeoutMs: 150 });
    const run = await begin(machinery);
    const claim = await machinery.store.claim(run);
    const journal = await claim.proceed(6);
    for (let i = 0; i < 6; i++) {
      proxy.cutReplies(i % 2 === 0 ? 'cut' : 'hold');
      await journal.append(utf8(`line ${i}\n`));
      await claim.signed.append(utf8(`signed ${i}\n`));
    }
    expect(proxy.cuts()).toBe(6);
    expect(await collect(claim.read())).toBe(`begin\n${[0, 1, 2, 3, 4, 5].map((i) => `line ${i}\n`).join('')}`);
    expect(Buffer.from(await claim.signed.read()).toString()).toBe(
      [0, 1, 2, 3, 4, 5].map((i) => `signed ${i}\n`).join(''),
    );
    proxy.cutReplies('cut');
    const other = someRun();
    expect(await machinery.store.create(runningStatus(other), utf8('once\n'))).toBe(true);
    proxy.cutReplies('cut');
    const said = await machinery.inbox.say(run, { type: 'child', index: 4n });
    expect(said.isAttached).toBe(false);
    expect(await stranger().llen(`{${machinery.prefix}}:words:${run.slice(2)}`)).toBe(1);
  });

  test('a server that has lost what it acknowledged is found out', async () => {
    const machinery = await open();
    const run = await begin(machinery);
    const claim = await machinery.store.claim(run);
    const journal = await claim.proceed(6);
    await journal.append(utf8('kept\n'));
    const client = stranger();
    await client.hset(`{${machinery.prefix}}:run:${run.slice(2)}`, { seq: '1', bytes: '6' });
    await expect(journal.append(utf8('more\n'))).rejects.toMatchObject({ code: 'JOURNAL_UNWRITABLE' });
  });

  test('a server whose memory is full is told as such', async () => {
    const full = await startRedis(['--appendonly', 'yes', '--appendfsync', 'always', '--maxmemory', '3mb']);
    onTestFinished(() => full.close());
    const machinery = await open({ url: full.url });
    const run = await begin(machinery);
    const claim = await machinery.store.claim(run);
    const journal = await claim.proceed(6);
    await expect(
      (async () => {
        for (let i = 0; i < 8; i++) await journal.append(Buffer.alloc(1_000_000, 'x'));
      })(),
    ).rejects.toMatchObject({ code: 'JOURNAL_FULL' });
  });
});

describe('workers that stall', () => {
  test('a run is given to another, and the first hears that it is lost', async () => {
    const prefix = `stall-${sets++}`;
    const [one, two] = [await open({ prefix, lockMs: 400 }), await open({ prefix, lockMs: 400 })];
    const run = await begin(one);
    const client = stranger();
    let lost = false;
    let writes = '';
    one.queue.work(async (job) => {
      const claim = await one.store.claim(job.run);
      const journal = await claim.proceed(6);
      // As if it had been stopped for longer than its lock.
      const lock = (await client.keys(`{${prefix}}:runs:*:lock`))[0] ?? '';
      await client.set(lock, 'another');
      await until(() => job.lost.aborted);
      lost = true;
      await client.del(lock);
      await until(() => writes !== '');
      writes += await journal.append(utf8('late\n')).catch((error: { code: string }) => error.code);
      await claim.release();
      return 'left';
    });
    await one.queue.add(run);
    await until(() => lost);
    two.queue.work(async (job) => {
      const claim = await two.store.claim(job.run);
      await (await claim.proceed(6)).append(utf8('second\n'));
      await claim.rest(overStatus(job.run));
      await claim.release();
      writes = 'second ';
      return 'rested';
    });
    await until(() => writes.length > 7, 8_000);
    expect(writes).toBe('second JOURNAL_FENCED');
    expect(await collect(two.store.read(run))).toBe('begin\nsecond\n');
    expect((await one.queue.counts()).stalled + (await two.queue.counts()).stalled).toBeGreaterThan(0);
    await until(() => one.told.statuses.get(run)?.status === 'done');
  });

  test('a handler that rejects is asked again after a while', async () => {
    const machinery = await open();
    const run = await begin(machinery);
    let tries = 0;
    machinery.queue.work(async () => {
      tries += 1;
      if (tries < 3) throw new Error('not now');
      return 'rested';
    });
    await machinery.queue.add(run);
    await until(async () => tries === 3 && (await machinery.queue.counts()).active === 0);
    expect(machinery.faults).toHaveLength(2);
    expect(await machinery.queue.counts()).toMatchObject({ waiting: 0 });
  });

  test('a run that is running and has no job is taken up when somebody begins to work', async () => {
    const machinery = await open();
    const run = await begin(machinery);
    const taken: Hex[] = [];
    machinery.queue.work(async (job) => {
      taken.push(job.run);
      return 'rested';
    });
    await until(() => taken.length === 1);
    expect(taken).toEqual([run]);
  });

  test('words that a fenced worker was given wait for who has the run now', async () => {
    const prefix = `stall-${sets++}`;
    const [one, two] = [await open({ prefix }), await open({ prefix })];
    const run = await begin(one);
    await one.store.claim(run);
    const old = await one.inbox.attach(run, new RunControl());
    const young = await two.store.claim(run);
    const said = await two.inbox.say(run, { type: 'cancel' });
    // Nobody with the newest claim hears yet, though the old one has heard it.
    expect(said.isAttached).toBe(false);
    expect(await old.close()).toBe(false);
    const control = new RunControl();
    const hearing = await two.inbox.attach(run, control);
    expect(control.cancelled).toBe(true);
    expect(await hearing.close()).toBe(false);
    await young.release();
  });

  test('a word that nobody hears is told so, and waits', async () => {
    const machinery = await open({ hearMs: 50 });
    const run = await begin(machinery);
    const said = await machinery.inbox.say(run, { type: 'cancel' });
    expect(await ending(said.heard)).toBe('NOT_HEARD');
    await machinery.store.claim(run);
    const control = new RunControl();
    await (await machinery.inbox.attach(run, control)).close();
    expect(control.cancelled).toBe(true);
  });

  test('a word that a run took and fell over holds nobody up, and waits', async () => {
    const machinery = await open();
    const run = await begin(machinery);
    await machinery.store.claim(run);
    const control = new RunControl();
    const hearing = await machinery.inbox.attach(run, control);
    await machinery.inbox.say(run, { type: 'child', index: 4n });
    await until(() => control.takeWord() !== undefined);
    expect(await hearing.close()).toBe(true);
  });

  test('a run is taken up, and hears a word, only when all is known here that was told before', async () => {
    const prefix = `behind-${sets++}`;
    const proxy = await openProxy(server.port);
    const [one, two] = [await open({ prefix, url: `redis://127.0.0.1:${proxy.port}` }), await open({ prefix })];
    proxy.slowEvents(100);
    const known: (string | undefined)[] = [];
    one.queue.work(async (job) => {
      known.push(one.told.statuses.get(job.run)?.status);
      return 'rested';
    });
    for (let i = 0; i < 4; i++) {
      const run = await begin(two);
      await two.queue.add(run);
    }
    await until(() => known.length === 4);
    expect(new Set(known)).toEqual(new Set(['running']));
    const run = await begin(two);
    await until(() => one.told.statuses.has(run));
    await one.store.claim(run);
    await two.inbox.say(run, { type: 'child', index: 1n });
    const other = await begin(two);
    const control = new RunControl();
    const hearing = await one.inbox.attach(run, control);
    await until(() => control.takeWord() !== undefined);
    expect(one.told.statuses.has(other)).toBe(true);
    await hearing.close();
  });

  test('a run that was left hears its cancel again', async () => {
    const machinery = await open();
    const run = await begin(machinery);
    await machinery.store.claim(run);
    await machinery.inbox.say(run, { type: 'cancel' });
    const first = new RunControl();
    const hearing = await machinery.inbox.attach(run, first);
    expect(first.cancelled).toBe(true);
    first.leave();
    await hearing.close();
    await machinery.store.claim(run);
    const next = new RunControl();
    await (await machinery.inbox.attach(run, next)).close();
    expect(next.cancelled).toBe(true);
  });
});

describe('what others write', () => {
  test('statuses, words, events and journals that are none are no crash', async () => {
    const machinery = await open();
    const client = stranger();
    const at = (name: string) => `{${machinery.prefix}}:${name}`;
    const run = await begin(machinery);
    const id = run.slice(2);
    await client.hset(at('status'), { garbage: '{}', [id]: '{"run":1}', ['ab'.repeat(32)]: 'not JSON' });
    await client.sadd(at('live'), 'garbage');
    await client.rpush(at(`words:${id}`), 'x', `${'0'.repeat(32)}{"type":"burn"}`);
    await client.xadd(at('events'), '*', 'hello', 'world');
    await client.publish(at('grown'), 'garbage');
    const again = await open({ prefix: machinery.prefix });
    expect([...again.told.statuses]).toEqual(
      expect.arrayContaining([
        [run, undefined],
        [`0x${'ab'.repeat(32)}`, undefined],
      ]),
    );
    await again.store.claim(run);
    const hearing = await again.inbox.attach(run, new RunControl());
    expect(await hearing.close()).toBe(false);
    // Events behind the one that is none are heard.
    const said = await machinery.inbox.say(run, { type: 'resume' });
    await (await again.inbox.attach(run, new RunControl())).close();
    expect(await ending(said.heard)).toBe('heard');
    await client.xadd(at(`journal:${id}`), '9-9', 'o', '600', 'b', 'garbage');
    await expect(collect(again.store.read(run))).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT' });
    await client.xadd(at(`journal:${id}`), '9-10', 'no', 'piece');
    await client.del(at(`journal:${id}`));
    await client.set(at(`journal:${id}`), 'a text');
    await expect(collect(again.store.read(run))).rejects.toMatchObject({ code: 'JOURNAL_UNWRITABLE' });
    await client.set(at(`run:${id}`), 'a text');
    await expect(again.store.claim(run)).rejects.toMatchObject({ code: 'JOURNAL_UNWRITABLE' });
  });

  test('a job of no run goes away', async () => {
    const machinery = await open();
    const client = stranger();
    const run = await begin(machinery);
    await machinery.queue.add(run);
    for (const key of await client.keys(`{${machinery.prefix}}:runs:*`)) {
      if ((await client.type(key)) === 'hash' && (await client.hexists(key, 'data')))
        await client.hset(key, 'data', '{"run":"x"}');
    }
    let taken = 0;
    machinery.queue.work(async () => {
      taken += 1;
      return 'rested';
    });
    await until(async () => {
      const { waiting, active } = await machinery.queue.counts();
      return waiting + active === 0;
    });
    expect(taken).toBe(0);
    await machinery.queue.ensure(run);
    await until(() => taken === 1);
  });

  test('everything deleted: the events that follow are heard', async () => {
    const prefix = `gone-${sets++}`;
    const [one, two] = [await open({ prefix }), await open({ prefix })];
    await begin(one);
    const client = stranger();
    await client.del(...(await client.keys(`{${prefix}}:*`)));
    const run = await begin(two);
    await until(() => one.told.statuses.has(run));
  });

  test('events that were trimmed before they were read: everything is read again', async () => {
    const machinery = await open();
    const client = stranger();
    const run = someRun();
    await client.hset(`{${machinery.prefix}}:status`, { [run.slice(2)]: JSON.stringify(overStatus(run)) });
    // As if ten events had been told and lost.
    await client.incrby(`{${machinery.prefix}}:number`, 10);
    await begin(machinery);
    await until(() => machinery.told.statuses.get(run)?.status === 'done');
  });

  test('a journal whose time is over, and whose bundle lies elsewhere, says where', async () => {
    const prefix = `elsewhere-${sets++}`;
    const one = await open({ prefix, home: 'machine-one', keepMs: 30 });
    const two = await open({ prefix, home: 'machine-two' });
    const run = await begin(one);
    const claim = await one.store.claim(run);
    await claim.proceed(6);
    await claim.rest(overStatus(run));
    await claim.release();
    await until(async () => (await stranger().exists(`{${prefix}}:journal:${run.slice(2)}`)) === 0);
    expect(await collect(one.store.read(run))).toBe('begin\n');
    await expect(two.store.fetch(run)).rejects.toMatchObject({ code: 'JOURNAL_MISSING', at: { home: 'machine-one' } });
    await expect(collect(two.store.read(run))).rejects.toMatchObject({ code: 'JOURNAL_MISSING' });
    rmSync(one.store.path(run));
    await expect(one.store.fetch(run)).rejects.toMatchObject({ code: 'JOURNAL_MISSING' });
  });
});

const HELD_MS = 300;

/** A way to the server that loses replies, or brings them later than they are waited for. */
async function openProxy(port: number) {
  let how: 'cut' | 'hold' | undefined;
  let cuts = 0;
  let slowMs = 0;
  const sockets = new Set<Socket>();
  const proxy: Server = createServer((socket) => {
    const up = createConnection({ port, host: '127.0.0.1' });
    sockets.add(socket).add(up);
    let isWriting = false;
    socket.on('data', (bytes) => {
      if (/EVALSHA/i.test(bytes.toString('latin1'))) isWriting = true;
      up.write(bytes);
    });
    const held: Buffer[] = [];
    up.on('data', (bytes) => {
      if (how !== undefined && isWriting) {
        cuts += 1;
        if (how === 'cut') socket.destroy();
        else {
          held.push(bytes);
          setTimeout(() => socket.write(Buffer.concat(held.splice(0))), HELD_MS);
        }
        how = undefined;
      } else if (held.length > 0) {
        held.push(bytes);
      } else if (slowMs > 0 && bytes.includes('\r\nkind\r\n')) {
        setTimeout(() => socket.write(bytes), slowMs);
      } else {
        socket.write(bytes);
      }
      isWriting = false;
    });
    for (const one of [socket, up]) one.on('error', () => undefined);
    socket.on('close', () => up.destroy());
    up.on('close', () => socket.destroy());
  });
  await new Promise<void>((resolve) => {
    proxy.listen(0, '127.0.0.1', resolve);
  });
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  return {
    port: (proxy.address() as AddressInfo).port,
    cutReplies(next: 'cut' | 'hold') {
      how = next;
    },
    cuts: () => cuts,
    /** Brings what others told so much later. */
    slowEvents(ms: number) {
      slowMs = ms;
    },
  };
}
