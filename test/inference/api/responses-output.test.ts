import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AnswerEvent } from '../../../inference/answering.ts';
import { type UnnumberedEvent, writeOutput } from '../../../inference/api/responses-output.ts';

function write(pieces: readonly AnswerEvent[], isWhole = true) {
  const events: UnnumberedEvent[] = [];
  let ids = 0;
  const output = writeOutput(
    (prefix) => `${prefix}_${ids++}`,
    (event) => events.push(event),
  );
  for (const piece of pieces) output.push(piece);
  output.finish(isWhole);
  return { items: output.items, events, types: events.map(({ type }) => type) };
}

const text = (words: string): AnswerEvent => ({ type: 'text', text: words });
const call = (index: number): AnswerEvent => ({ type: 'call', index, id: `call_${index}`, name: 'look' });
const words = (index: number, part: string): AnswerEvent => ({ type: 'arguments', index, text: part });

describe('the output of a response', () => {
  it('tells of a text in the order of OpenAI', () => {
    const { types, items } = write([text('a'), text('b')]);
    expect(types).toEqual([
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
    ]);
    expect(items).toEqual([
      {
        id: 'msg_0',
        type: 'message',
        role: 'assistant',
        status: 'completed',
        content: [{ type: 'output_text', text: 'ab', annotations: [], logprobs: [] }],
      },
    ]);
  });

  it('tells of calls after a text, each at its place', () => {
    const { events, items } = write([text('so'), call(0), words(0, '{'), words(0, '}'), call(1), words(1, '{}')]);
    expect(items.map(({ type }) => type)).toEqual(['message', 'function_call', 'function_call']);
    expect(items[1]).toMatchObject({ call_id: 'call_0', name: 'look', arguments: '{}', status: 'completed' });
    const places = events.map((event) => ('output_index' in event ? event.output_index : -1));
    expect(places).toEqual([...places].sort((a, b) => a - b));
    expect(events.filter(({ type }) => type === 'response.function_call_arguments.done')).toEqual([
      {
        type: 'response.function_call_arguments.done',
        item_id: 'fc_1',
        output_index: 1,
        name: 'look',
        arguments: '{}',
      },
      {
        type: 'response.function_call_arguments.done',
        item_id: 'fc_2',
        output_index: 2,
        name: 'look',
        arguments: '{}',
      },
    ]);
  });

  it('begins another message for a text after a call', () => {
    const { items } = write([call(0), words(0, '{}'), text('and')]);
    expect(items.map(({ id }) => id)).toEqual(['fc_0', 'msg_1']);
  });

  it('is an empty message where there is nothing', () => {
    expect(write([]).items).toMatchObject([{ type: 'message', content: [{ text: '' }], status: 'completed' }]);
  });

  it('has an incomplete last item where the tokens were used up', () => {
    expect(write([text('a')], false).items).toMatchObject([{ status: 'incomplete' }]);
    const cut = write([text('a'), call(0), words(0, '{"a')], false).items;
    expect(cut.map(({ status }) => status)).toEqual(['completed', 'incomplete']);
  });

  it('writes probabilities of 0 as OpenAI does, and no bytes of control tokens', () => {
    const logprobs = [
      { id: 1, text: 'a', bytes: [97], logprob: -0.5, top: [{ id: 2, text: '', bytes: null, logprob: -Infinity }] },
    ];
    const { items, events } = write([{ type: 'text', text: 'a', logprobs }]);
    const wanted = [
      { token: 'a', bytes: [97], logprob: -0.5, top_logprobs: [{ token: '', bytes: [], logprob: -9999 }] },
    ];
    expect(items).toMatchObject([{ content: [{ logprobs: wanted }] }]);
    expect(events.find(({ type }) => type === 'response.output_text.delta')).toMatchObject({ logprobs: wanted });
  });

  it('refuses arguments without a call', () => {
    expect(() => write([words(0, '{}')])).toThrow(TypeError);
    expect(() => write([text('a'), words(0, '{}')])).toThrow(TypeError);
  });

  it('is the same however its pieces are cut', () => {
    fc.assert(
      fc.property(fc.array(fc.string(), { minLength: 1 }), fc.array(fc.string()), (said, made) => {
        const cut = write([...said.map(text), call(0), ...made.map((part) => words(0, part))]).items;
        expect(cut).toEqual(write([text(said.join('')), call(0), words(0, made.join(''))]).items);
      }),
      { numRuns: 100 },
    );
  });
});
