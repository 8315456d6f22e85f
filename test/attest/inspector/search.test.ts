import { beforeAll, describe, expect, it } from 'vitest';
import { readEntries } from '../../../agents/demo/forge.ts';
import { MAX_FOUND, searchPayloads } from '../../../attest/inspector/search.ts';
import { withhold } from '../../support/forging.ts';
import { fileOf, textRun } from '../../support/inspected.ts';
import { type ToyRun, toyRun } from '../../support/toy-run.ts';

let honest: ToyRun;
beforeAll(async () => {
  honest = await toyRun();
});

const find = async (bytes: Uint8Array, text: string, pause = async () => true) =>
  await searchPayloads(fileOf(bytes, 3000), text, pause);

describe('the search in payloads', () => {
  it('finds the records whose payloads hold a text, in whatever case, and says where', async () => {
    const entries = await readEntries(honest.bytes);
    const places = (await find(honest.bytes, 'Second LINE'))?.places;
    const step = entries.findIndex(
      ({ record, payloads }) =>
        record.kind === 'host.end' &&
        payloads.size > 0 &&
        Buffer.from(payloads.get('body.response')?.data ?? []).includes('second line'),
    );
    expect([...(places ?? [])]).toEqual([[step, 'body.response']]);
    const asked = (await find(honest.bytes, 'what is in the books?'))?.places;
    expect(asked?.get(0)).toBe('body.input');
    expect((await find(honest.bytes, 'nowhere to be found'))?.places.size).toBe(0);
    // Names of fields, kinds and digests are no payloads.
    expect((await find(honest.bytes, 'subject'))?.places.size).toBe(0);
  });

  it('finds what JSON writes in another way, and texts longer than a chunk', async () => {
    const long = `${'é'.repeat(4000)}"quoted"\nnext`;
    const bytes = await textRun([long, 'plain']);
    expect((await find(bytes, '"quoted"\nNEXT'))?.places.get(0)).toBe('body.input');
    expect((await find(bytes, 'é'.repeat(3000)))?.places.get(0)).toBe('body.input');
  });

  it('does not find what is withheld, and counts on behind it', async () => {
    const hidden = withhold(honest.bytes, 0, 0);
    expect((await find(hidden, 'what is in the books?'))?.places.get(0)).toBe('body.input');
    expect((await find(withhold(honest.bytes, 0, 1), 'what is in the books?'))?.places.has(0)).toBe(false);
  });

  it('ends when it is told to', async () => {
    // Of pauses the honest run has none: it is short.
    const many = await textRun(Array.from({ length: 60 }, (_, i) => `text ${i}`));
    let pauses = 0;
    const pause = async () => ++pauses < 2;
    expect(await find(many, 'text', pause)).toBeUndefined();
    expect(pauses).toBe(2);
    expect(MAX_FOUND).toBeGreaterThan(5000);
  });

  it('reads whatever stands in a file', async () => {
    const odd = [
      '{"record":1}',
      '{"payload":{"chunks":["%%","dGV4dA==",7],"media":"application/json"}}',
      '{"payload":',
      '',
      '{"withheld":2}',
      '{"payload":{"chunks":["dGV4dA=="],"media":"image/png"}}',
      '{"payload":{"chunks":["dGV4dA=="]',
    ];
    const found = await find(Buffer.from(odd.join('\n')), 'text');
    expect([...(found?.places ?? [])]).toEqual([[0, 'payload 0']]);
    expect((await find(Buffer.from('x'.repeat(100)), 'xx'))?.places.size).toBe(0);
  });
});
