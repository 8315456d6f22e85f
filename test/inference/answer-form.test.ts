import { describe, expect, it } from 'vitest';
import { AnswerForms } from '../../inference/answer-form.ts';
import { type MaskedPlace, maskIds } from '../../inference/decode.ts';
import type { CompletionRequest, ToolUse } from '../../inference/engine.ts';

const END = 256;
/** One token a byte, and one that ends. */
const forms = new AnswerForms([...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)), null], [END]);

const NUMBER = '{"type":"object","properties":{"n":{"enum":[1,2]}},"required":["n"],"additionalProperties":false}';
const tool = (name: string, parameters = NUMBER) => ({ name, description: null, parameters });
const use = (more: Partial<ToolUse> = {}): ToolUse => ({
  tools: [tool('f'), tool('g')],
  choice: { type: 'required' },
  parallel: true,
  ...more,
});
const begin = (more: Partial<CompletionRequest>): MaskedPlace => {
  const place = forms.begin({ messages: [], maxTokens: 1000, ...more });
  if (place === undefined) throw new TypeError('expected a form');
  return place;
};

/** The place after a text; undefined where the form has no such beginning. */
function placeAfter(start: MaskedPlace, text: string): MaskedPlace | undefined {
  let place = start;
  for (const byte of Buffer.from(text)) {
    if (!maskIds(place.mask(1000)).includes(byte)) return undefined;
    place = place.take(byte);
  }
  return place;
}
const call = (name: string, n = 1) => `<tool_call>\n{"name": "${name}", "arguments": {"n":${n}}}\n</tool_call>`;

describe('the form of an answer', () => {
  it('is none where a request asks for none', () => {
    expect(forms.begin({ messages: [], maxTokens: 1 })).toBeUndefined();
  });

  it('is refused where its shortest answer has more tokens than are wanted, and at no fewer', () => {
    const format = { type: 'json_object' } as const;
    expect(begin({ format, maxTokens: 2 }).cost).toBe(2);
    expect(() => begin({ format, maxTokens: 1 })).toThrow(
      expect.objectContaining({ code: 'BUDGET_TOO_SMALL', at: { field: 'maxTokens', needed: 2 } }),
    );
  });

  it('has one call after the other where they may be parallel, and one alone where one function is named', () => {
    const two = `${call('f')}\n${call('g', 2)}`;
    expect(placeAfter(begin({ toolUse: use() }), two)?.isWhole).toBe(true);
    expect(placeAfter(begin({ toolUse: use({ parallel: false }) }), call('f'))?.isEnd).toBe(true);
    const named = begin({ toolUse: use({ choice: { type: 'function', name: 'g' } }) });
    expect(placeAfter(named, call('g'))?.isEnd).toBe(true);
    expect(placeAfter(named, '<tool_call>\n{"name": "f')).toBeUndefined();
  });

  it('has content of its own form beside calls only where a call is free', () => {
    const format = { type: 'json_schema', schema: NUMBER } as const;
    const choice = { type: 'auto' } as const;
    expect(placeAfter(begin({ format, toolUse: use({ choice }) }), '{"n":2}')?.isWhole).toBe(true);
    expect(placeAfter(begin({ format, toolUse: use({ choice }) }), call('f'))?.isWhole).toBe(true);
    expect(placeAfter(begin({ format, toolUse: use({ choice }) }), 'no')).toBeUndefined();
    expect(placeAfter(begin({ format, toolUse: use() }), '{')).toBeUndefined();
    expect(placeAfter(begin({ toolUse: use({ choice }) }), 'no')?.isWhole).toBe(true);
  });

  it('is that of the request, whatever was asked before', () => {
    for (let i = 0; i < 80; i++) {
      const name = `t${i % 40}`;
      expect(placeAfter(begin({ toolUse: use({ tools: [tool(name)] }) }), call(name))?.isWhole).toBe(true);
      const format = { type: 'json_schema', schema: `{"const":${i % 40}}` } as const;
      expect(placeAfter(begin({ format }), `${i % 40}`)?.isEnd).toBe(true);
    }
  });

  it('names the tool whose schema is refused by its place in the request', () => {
    const bad = [tool('f'), tool('g'), tool('h', '{"if":{}}')];
    const choices = [{ type: 'auto' }, { type: 'function', name: 'h' }] as const;
    for (const choice of choices) {
      expect(() => begin({ toolUse: use({ tools: bad, choice }) })).toThrow(
        expect.objectContaining({ code: 'SCHEMA_REFUSED', at: expect.objectContaining({ field: 'tools', index: 2 }) }),
      );
    }
    // Another is not looked at where one is named.
    expect(begin({ toolUse: use({ tools: bad, choice: { type: 'function', name: 'f' } }) }).cost).toBeGreaterThan(0);
  });
});
