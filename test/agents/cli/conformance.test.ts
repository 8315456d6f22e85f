import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import { Command, CommanderError } from 'commander';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type ConformanceResult,
  evaluateCase,
  registerConformance,
  runConformance,
  SUITE_NAMES,
  type Suite,
} from '../../../agents/cli/conformance.ts';
import { toHex } from '../../../attest/core/bytes.ts';
import { toBase64 } from '../../../attest/encoding/base64.ts';
import { emptyRoot, MerkleTree } from '../../../attest/merkle/tree.ts';
import { flip, someLeaves } from '../../support/merkle-reference.ts';
import { describeVectors, filesBelow, readBytes } from '../../support/vectors.ts';

const line = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const evaluate = (suite: Suite, data: unknown): ConformanceResult =>
  evaluateCase(suite, line(typeof data === 'string' ? data : JSON.stringify(data)));
const ok = { ok: true };

/** Runs the stream over pieces; returns the lines that came out. */
async function stream(
  suite: Suite,
  pieces: readonly Uint8Array[],
  options?: runConformance.Options,
): Promise<string[]> {
  const output = new PassThrough();
  const chunks: Buffer[] = [];
  output.on('data', (chunk: Buffer) => chunks.push(chunk));
  await runConformance(suite, Readable.from(pieces), output, options);
  const text = Buffer.concat(chunks).toString();
  return text === '' ? [] : text.replace(/\n$/, '').split('\n');
}

describeVectors('jcs', (folder) => {
  it('jcs: 6 of 6', () => {
    for (const name of ['arrays', 'french', 'structures', 'unicode', 'values', 'weird']) {
      const json = readFileSync(join(folder, 'testdata/input', `${name}.json`), 'utf8');
      const canonical = readFileSync(join(folder, 'testdata/output', `${name}.json`), 'utf8');
      expect(evaluate('jcs', { json })).toEqual({ canonical });
    }
  });

  it('jcs: 5,000 of 5,000 numbers, as JavaScript writes them and to 17 digits', () => {
    const view = new DataView(new ArrayBuffer(8));
    const rows = readFileSync(join(folder, 'es6numbers-5k.txt'), 'utf8').trim().split('\n');
    expect(rows.length).toBe(5000);
    for (const row of rows) {
      const [hex = '', canonical = ''] = row.split(',');
      view.setBigUint64(0, BigInt(`0x${hex}`));
      const value = view.getFloat64(0);
      for (const json of [canonical, value.toPrecision(17), value.toExponential(20)]) {
        expect(evaluate('jcs', { json })).toEqual({ canonical });
      }
    }
  });
});

describeVectors('jsontestsuite/test_parsing', (folder) => {
  it('json: every n_ refused, every y_ accepted but duplicate keys, every i_ answered', () => {
    const counts = { n: 0, y: 0, i: 0 };
    for (const file of filesBelow(folder)) {
      const name = basename(file);
      const result = evaluate('json', { hex: Buffer.from(readBytes(file)).toString('hex') });
      if (name.startsWith('n_')) {
        expect(result, name).toHaveProperty('error');
        counts.n++;
      } else if (name.startsWith('y_')) {
        expect(result, name).toEqual(name.startsWith('y_object_duplicated_key') ? { error: 'DUPLICATE_KEY' } : ok);
        counts.y++;
      } else {
        expect(Object.keys(result).length).toBe(1);
        counts.i++;
      }
    }
    expect(counts).toEqual({ n: 188, y: 95, i: 35 });
  });
});

describeVectors('merkle-rfc6962/inclusion', (folder) => {
  it('merkle-inclusion: 98 of 98', () => {
    const files = filesBelow(folder);
    expect(files.length).toBe(98);
    for (const file of files) {
      const text = readFileSync(file, 'utf8');
      const { wantErr } = JSON.parse(text) as { wantErr: boolean };
      const result = evaluate('merkle-inclusion', text.replace(/\n/g, ' '));
      if (wantErr) expect(result, file).toHaveProperty('error');
      else expect(result, file).toEqual(ok);
    }
  });
});

describeVectors('eip712', (folder) => {
  it('eip712: the example', () => {
    const text = readFileSync(join(folder, 'EIPS/eip-712.md'), 'utf8');
    const request = /"params":\["0x[0-9a-fA-F]{40}", (\{.*\})\],"id":1\}'/.exec(text)?.[1];
    expect(request).toBeDefined();
    expect(evaluate('eip712', request)).toEqual({
      digest: '0xbe609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2',
    });
  });
});

describeVectors('wycheproof', (folder) => {
  it('secp256k1: 95 ok, 157 errors', () => {
    const data = JSON.parse(readFileSync(join(folder, 'ecdsa_secp256k1_sha256_p1363_test.json'), 'utf8')) as {
      testGroups: { publicKey: { uncompressed: string }; tests: { msg: string; sig: string }[] }[];
    };
    const results = data.testGroups.flatMap(({ publicKey, tests }) =>
      tests.map(({ msg, sig }) =>
        evaluate('secp256k1', { publicKey: publicKey.uncompressed, message: msg, signature: sig }),
      ),
    );
    expect(results.filter((result) => 'ok' in result).length).toBe(95);
    expect(results.filter((result) => 'error' in result).length).toBe(157);
  });
});

describe('merkle-consistency', () => {
  const tree = MerkleTree.from(someLeaves(40));
  const caseOf = (size1: number, size2: number): Record<string, unknown> => ({
    size1,
    size2,
    root1: toBase64(tree.root(size1)),
    root2: toBase64(tree.root(size2)),
    proof: tree.consistency(size1, size2).map(toBase64),
    desc: 'own case',
    wantErr: false,
  });

  it('holds for all sizes up to 40, and for nothing changed', () => {
    for (let size2 = 1; size2 <= 40; size2++) {
      for (let size1 = 1; size1 <= size2; size1++) {
        const good = caseOf(size1, size2);
        const proof = tree.consistency(size1, size2);
        expect(evaluate('merkle-consistency', good)).toEqual(ok);
        const bit = (size1 * size2) % 256;
        const root1 = toBase64(flip(tree.root(size1), bit));
        expect(evaluate('merkle-consistency', { ...good, root1 })).toEqual({ error: 'ROOT_MISMATCH' });
        for (let i = 0; i < proof.length; i++) {
          const changed = proof.with(i, flip(proof[i] as Uint8Array, bit)).map(toBase64);
          expect(evaluate('merkle-consistency', { ...good, proof: changed })).toEqual({ error: 'ROOT_MISMATCH' });
        }
      }
    }
  });

  it('answers the odd cases as the published files do', () => {
    const [a, b, empty] = [toBase64(line("don't care 1")), toBase64(line("don't care 2")), toBase64(emptyRoot)];
    const probe = (size1: number, size2: number, root1: string, root2: string, proof: unknown): ConformanceResult =>
      evaluate('merkle-consistency', { size1, size2, root1, root2, proof });
    expect(probe(1, 1, b, b, [])).toEqual(ok);
    expect(probe(0, 0, a, a, [])).toEqual(ok);
    expect(probe(0, 0, empty, empty, null)).toEqual(ok);
    expect(probe(0, 0, a, b, [])).toEqual({ error: 'ROOT_MISMATCH' });
    expect(probe(1, 1, a, b, [])).toEqual({ error: 'ROOT_MISMATCH' });
    expect(probe(0, 1, empty, b, [])).toEqual({ error: 'MALFORMED_SIZE' });
    expect(probe(0, 1, empty, empty, [empty])).toEqual({ error: 'MALFORMED_SIZE' });
    expect(probe(1, 0, a, b, [])).toEqual({ error: 'MALFORMED_SIZE' });
    expect(probe(2, 1, a, b, [])).toEqual({ error: 'MALFORMED_SIZE' });
    expect(probe(1, 2, a, b, [])).toHaveProperty('error');
    expect(probe(0, 0, empty, empty, [empty])).toEqual({ error: 'MALFORMED_PATH' });
    expect(probe(1, 1, empty, empty, [empty])).toEqual({ error: 'MALFORMED_PATH' });
  });
});

describe('sizes', () => {
  const inclusion = (leafIdx: string, treeSize: string): ConformanceResult =>
    evaluate(
      'merkle-inclusion',
      `{"leafIdx":${leafIdx},"treeSize":${treeSize},"root":"${toBase64(emptyRoot)}","leafHash":"${toBase64(emptyRoot)}","proof":[]}`,
    );

  it('lose nothing up to 2^64 - 1', () => {
    // 18446744073709551614 of ...615 leaves is the last one, with 63 siblings; as binary64 both are 2^64.
    expect(inclusion('18446744073709551615', '18446744073709551615')).toEqual({ error: 'MALFORMED_INDEX' });
    expect(inclusion('18446744073709551614', '18446744073709551615')).toEqual({ error: 'MALFORMED_PATH' });
    expect(inclusion('0', '18446744073709551616')).toEqual({ error: 'MALFORMED_SIZE' });
    // As binary64, both of these are 2^53, and the leaf would be outside.
    expect(inclusion('9007199254740992', '9007199254740993')).toEqual({ error: 'MALFORMED_PATH' });
    expect(inclusion('0', '1')).toEqual(ok);
  });

  it.each(['-1', '1.0', '1e0', '0.5', '1e400', '"1"', 'null', 'true', '[1]', '{}', '01', '+1', '9'.repeat(1000)])(
    'are unsigned integers, not %s',
    (text) => {
      expect(inclusion('0', text)).toHaveProperty('error');
      expect(inclusion(text, '2')).toHaveProperty('error');
    },
  );
});

describe('faults of a case', () => {
  it.each([
    ['', 'MALFORMED_JSON'],
    [' ', 'MALFORMED_JSON'],
    ['nonsense', 'MALFORMED_JSON'],
    ['{"json":"1"', 'MALFORMED_JSON'],
    ['{"json":"1"}{"json":"1"}', 'MALFORMED_JSON'],
    ['\ufeff{"json":"1"}', 'MALFORMED_JSON'],
    ['{"json":"1","json":"2"}', 'DUPLICATE_KEY'],
    ['{"json":"\\ud800"}', 'LONE_SURROGATE'],
    ['[]', 'MALFORMED_CASE'],
    ['null', 'MALFORMED_CASE'],
    ['"1"', 'MALFORMED_CASE'],
    ['1', 'MALFORMED_CASE'],
    ['{}', 'MALFORMED_CASE'],
    ['{"json":1}', 'MALFORMED_CASE'],
    ['{"json":null}', 'MALFORMED_CASE'],
    ['{"JSON":"1"}', 'MALFORMED_CASE'],
    ['{"__proto__":{"json":"1"}}', 'MALFORMED_CASE'],
    ['{"json":""}', 'MALFORMED_JSON'],
    ['{"json":"1e400"}', 'NUMBER_OUT_OF_RANGE'],
    ['{"json":"{\\"a\\":1,\\"a\\":1}"}', 'DUPLICATE_KEY'],
    ['{"json":"\\"\\\\ud800\\""}', 'LONE_SURROGATE'],
    [`{"json":"${'['.repeat(100_000)}"}`, 'TOO_DEEP'],
    [`{"json":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 'TOO_DEEP'],
  ])('jcs: %.60s', (text, code) => {
    expect(evaluate('jcs', text)).toEqual({ error: code });
  });

  it.each(SUITE_NAMES)('%s answers what is no case', (suite) => {
    for (const text of ['', 'null', '[]', '{}', '{"a":1}', '{"__proto__":null}', '['.repeat(100_000)]) {
      expect(Object.keys(evaluate(suite, text))).toEqual(['error']);
    }
    expect(evaluateCase(suite, Uint8Array.of(0x22, 0xff, 0x22))).toEqual({ error: 'MALFORMED_UTF8' });
  });

  it.each(SUITE_NAMES)('%s never throws, whatever the fields hold', (suite) => {
    const names = [
      'json',
      'hex',
      'leafIdx',
      'treeSize',
      'root',
      'leafHash',
      'proof',
      'size1',
      'size2',
      'root1',
      'root2',
    ];
    const more = ['domain', 'types', 'primaryType', 'message', 'publicKey', 'signature'];
    const value = fc.oneof(
      fc.jsonValue(),
      fc.constantFrom('', '0x', '00', 'EIP712Domain', null, 0, 1, -1, 1.5, [], {}, { T: [] }, 'T', toBase64(emptyRoot)),
    );
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...names, ...more), value), (data) => {
        expect(Object.keys(evaluate(suite, data)).length).toBe(1);
      }),
      { numRuns: 300 },
    );
  });

  it('json and record: hexadecimal, with or without 0x, in either case', () => {
    expect(evaluate('json', { hex: '7b7d' })).toEqual(ok);
    expect(evaluate('json', { hex: '0X7B7d' })).toEqual(ok);
    expect(evaluate('json', { hex: '0x7b7d' })).toEqual(ok);
    expect(evaluate('json', { hex: '' })).toEqual({ error: 'MALFORMED_JSON' });
    expect(evaluate('json', { hex: '7b7' })).toEqual({ error: 'MALFORMED_HEX' });
    expect(evaluate('json', { hex: 'zz' })).toEqual({ error: 'MALFORMED_HEX' });
    expect(evaluate('json', { hex: toHex(line('{"a":1}\n')) })).toEqual(ok);
    expect(evaluate('record', { hex: toHex(line('{"a":1}')) })).toEqual(ok);
    expect(evaluate('record', { hex: toHex(line('{"a":1}\n')) })).toEqual({ error: 'NOT_CANONICAL' });
    expect(evaluate('record', { hex: toHex(line('{"a":1.5}')) })).toEqual({ error: 'NOT_AN_INTEGER' });
  });

  it('eip712: integers of a line lose nothing', () => {
    const digest = (value: string): ConformanceResult =>
      evaluate(
        'eip712',
        `{"domain":{},"types":{"T":[{"name":"x","type":"uint256"}]},"primaryType":"T","message":{"x":${value}}}`,
      );
    const most = ((1n << 256n) - 1n).toString();
    expect(digest(most)).toEqual(digest(`"${most}"`));
    expect(digest('9007199254740993')).toEqual(digest('"9007199254740993"'));
    expect(digest('9007199254740993')).not.toEqual(digest('9007199254740992'));
    expect(digest((1n << 256n).toString())).toEqual({ error: 'OUT_OF_RANGE' });
    expect(digest('-1')).toEqual({ error: 'OUT_OF_RANGE' });
    expect(digest('1.5')).toEqual({ error: 'MALFORMED_VALUE' });
    expect(digest('null')).toEqual({ error: 'MALFORMED_VALUE' });
  });
});

describe('the stream', () => {
  it('answers in order, however the bytes are cut', async () => {
    const cases = Array.from({ length: 50 }, (_, i) => (i % 7 === 3 ? 'broken' : `{"json":"[${i}, \\"ä\\"]"}`));
    const expected = cases.map((text) => JSON.stringify(evaluate('jcs', text)));
    const all = line(cases.join('\n'));
    for (const size of [1, 2, 7, 64, all.length]) {
      const pieces: Uint8Array[] = [];
      for (let from = 0; from < all.length; from += size) pieces.push(all.subarray(from, from + size));
      expect(await stream('jcs', pieces)).toEqual(expected);
      expect(await stream('jcs', [...pieces, line('\n')])).toEqual(expected);
    }
  });

  it('answers every line, empty ones and those with CRLF too', async () => {
    const answer = '{"canonical":"1"}';
    const broken = '{"error":"MALFORMED_JSON"}';
    expect(await stream('jcs', [line('{"json":"1"}\r\n\n{"json":"1"}\n')])).toEqual([answer, broken, answer]);
    expect(await stream('jcs', [])).toEqual([]);
    expect(await stream('jcs', [line('\n')])).toEqual([broken]);
  });

  it('survives a line of ten megabytes and skips one beyond the limit', async () => {
    const long = `{"json":"\\"${'a'.repeat(10_000_000)}\\""}`;
    const [first = '', second] = await stream('jcs', [line(long), line('\n{"json":"2"}')]);
    expect(first.length).toBe(10_000_000 + '{"canonical":"\\"\\""}'.length);
    expect(second).toBe('{"canonical":"2"}');
    const garbage = line(`${'x'.repeat(10_000_000)}\n{"json":"3"}\n`);
    expect(await stream('jcs', [garbage])).toEqual(['{"error":"MALFORMED_JSON"}', '{"canonical":"3"}']);
    const pieces = [line('x'.repeat(40)), line('y'.repeat(40)), line('z\n{"json":"4"}\n'), line('w'.repeat(70))];
    expect(await stream('jcs', pieces, { maxBytes: 64 })).toEqual([
      '{"error":"LINE_TOO_LONG"}',
      '{"canonical":"4"}',
      '{"error":"LINE_TOO_LONG"}',
    ]);
  });

  it('waits for a slow reader, and ends when the reader goes', async () => {
    let taken = 0;
    const slow = new Writable({
      highWaterMark: 16,
      write(_chunk, _encoding, done) {
        taken++;
        setImmediate(done);
      },
    });
    const many = Array.from({ length: 200 }, () => line('{"json":"1"}\n'));
    await runConformance('jcs', Readable.from(many), slow);
    expect(slow.writableLength).toBeLessThan(100);
    expect(taken).toBeGreaterThan(190);

    const broken = (code: string): Writable =>
      new Writable({
        highWaterMark: 16,
        write(_chunk, _encoding, done) {
          done(Object.assign(new Error(code), { code }));
        },
      });
    await runConformance('jcs', Readable.from(many), broken('EPIPE'));
    await expect(runConformance('jcs', Readable.from(many), broken('ENOSPC'))).rejects.toThrow('ENOSPC');
  });
});

describe('the command', () => {
  const build = (): { program: Command; errors: string[] } => {
    const errors: string[] = [];
    const program = new Command('tracebond').exitOverride().configureOutput({ writeErr: (text) => errors.push(text) });
    registerConformance(program);
    for (const command of program.commands)
      command.exitOverride().configureOutput({ writeErr: (text) => errors.push(text) });
    return { program, errors };
  };

  it.each([
    ['an unknown suite', ['conformance', 'nonsense']],
    ['no suite', ['conformance']],
    ['an inherited name', ['conformance', 'toString']],
    ['two suites', ['conformance', 'jcs', 'json']],
  ])('refuses %s as a usage error', async (_name, args) => {
    const { program, errors } = build();
    const error: unknown = await program.parseAsync(args, { from: 'user' }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(CommanderError);
    expect((error as CommanderError).exitCode).toBe(1);
    expect(errors.join('')).toMatch(/^error: /);
  });

  it('names its suites', () => {
    expect(SUITE_NAMES).toEqual([
      'jcs',
      'json',
      'record',
      'merkle-inclusion',
      'merkle-consistency',
      'eip712',
      'secp256k1',
      'ssrf',
    ]);
  });
});
