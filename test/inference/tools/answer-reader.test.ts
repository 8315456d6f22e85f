import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AnswerEvent } from '../../../inference/answering.ts';
import { type ReadAnswer, readAnswer, readWholeAnswer } from '../../../inference/tools/answer-reader.ts';

const id = (index: number) => `call_${index}`;
const CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "</tool_call>"}}\n</tool_call>';

/** Content and calls that the pieces tell, as a client puts them together. */
function assemble(events: readonly AnswerEvent[]): ReadAnswer {
  let content = '';
  const calls: { id: string; name: string; arguments: string }[] = [];
  for (const event of events) {
    if (event.type === 'text') content += event.text;
    else if (event.type === 'call') calls.push({ id: event.id, name: event.name, arguments: '' });
    else (calls[event.index] as { arguments: string }).arguments += event.text;
  }
  return { content: content === '' && calls.length > 0 ? null : content, calls };
}

describe('readWholeAnswer', () => {
  it('reads content, calls, and both', () => {
    expect(readWholeAnswer('hello', true, id)).toEqual({ content: 'hello', calls: [] });
    expect(readWholeAnswer('', true, id)).toEqual({ content: '', calls: [] });
    const call = { id: 'call_0', name: 'add', arguments: '{"a": 1, "b": "</tool_call>"}' };
    expect(readWholeAnswer(CALL, true, id)).toEqual({ content: null, calls: [call] });
    expect(readWholeAnswer(`wait\n${CALL}\n${CALL}`, true, id)).toEqual({
      content: 'wait\n',
      calls: [call, { ...call, id: 'call_1' }],
    });
  });

  it('takes everything for content where no tool may be called', () => {
    expect(readWholeAnswer(CALL, false, id)).toEqual({ content: CALL, calls: [] });
  });

  it('takes what is no call for content', () => {
    for (const text of ['<tool_call>', '<tool_call>{"name": "add"}', 'a < b', '<tool_call>\n{"name": "add', '<tool']) {
      expect(readWholeAnswer(text, true, id)).toEqual({ content: text, calls: [] });
    }
  });

  it('keeps the arguments of a call without an end, and what follows the last call', () => {
    expect(readWholeAnswer('<tool_call>\n{"name": "add", "arguments": {"a": ', true, id)).toEqual({
      content: null,
      calls: [{ id: 'call_0', name: 'add', arguments: '{"a": ' }],
    });
    const { content, calls } = readWholeAnswer(`${CALL} and more`, true, id);
    expect([content, calls.length]).toEqual([' and more', 1]);
  });
});

describe('readAnswer', () => {
  it('tells the same however a text is cut, and nothing twice', () => {
    const piece = fc.constantFrom(
      CALL,
      `\n${CALL}`,
      'text',
      '<tool_call>',
      '\n',
      '<tool_call>\n{"name": "',
      '}\n</tool',
      '{',
    );
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 6 }),
        fc.array(fc.nat({ max: 400 }), { maxLength: 12 }),
        (pieces, cuts) => {
          const text = pieces.join('');
          const ends = [...new Set([...cuts.map((cut) => Math.min(cut, text.length)), text.length])].sort(
            (a, b) => a - b,
          );
          const reader = readAnswer(true, id);
          let from = 0;
          const events: AnswerEvent[] = [];
          for (const end of ends) {
            events.push(...reader.push(text.slice(from, end)));
            from = end;
          }
          events.push(...reader.end());
          expect(reader.answer).toEqual(readWholeAnswer(text, true, id));
          expect(assemble(events)).toEqual(reader.answer);
        },
      ),
      { seed: 5, numRuns: 500 },
    );
  });

  it('holds back what may become a call, and nothing else', () => {
    const reader = readAnswer(true, id);
    expect(reader.push('a <to')).toEqual([{ type: 'text', text: 'a ' }]);
    expect(reader.push('y')).toEqual([{ type: 'text', text: '<toy' }]);
    expect(reader.push('<tool_call>\n{"name": "add", "argu')).toEqual([]);
    expect(reader.push('ments": {"a": 1')).toEqual([
      { type: 'call', index: 0, id: 'call_0', name: 'add' },
      { type: 'arguments', index: 0, text: '{"a": 1' },
    ]);
    expect(reader.push('}}')).toEqual([{ type: 'arguments', index: 0, text: '}' }]);
    expect(reader.push('\n</tool_call>')).toEqual([]);
    expect(reader.end()).toEqual([]);
  });
});
