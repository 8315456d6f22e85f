import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createResponseStore } from '../../../inference/api/response-store.ts';
import type { Item } from '../../../inference/api/responses-items.ts';

const message = (id: string, text = 'x'): Item => ({
  id,
  type: 'message',
  role: 'user',
  status: 'completed',
  content: [{ type: 'input_text', text }],
});
const response = (id: string, text = 'x') => ({
  id,
  body: { id, text },
  input: [message(`in_${id}`)],
  output: [message(`out_${id}`, text)],
});
const clock = () => {
  const time = { now: 0 };
  return { time, now: () => time.now };
};

describe('a store of responses', () => {
  it('gives what was put, by id and by item', () => {
    const store = createResponseStore({ now: () => 0 });
    const kept = response('a');
    store.put('', kept);
    expect(store.get('', 'a')).toBe(kept);
    expect(store.findItem('', 'out_a')).toBe(kept.output[0]);
    expect(store.findItem('', 'in_a')).toBe(kept.input[0]);
    expect(store.get('', 'b')).toBeUndefined();
    expect(store.findItem('', 'a')).toBeUndefined();
  });

  it('shows no caller what another stored (R1)', () => {
    const store = createResponseStore({ now: () => 0 });
    store.put('alice', response('a'));
    for (const other of ['bob', '', 'alic', '__proto__']) {
      expect(store.get(other, 'a')).toBeUndefined();
      expect(store.findItem(other, 'out_a')).toBeUndefined();
      expect(store.delete(other, 'a')).toBe(false);
    }
    expect(store.get('alice', 'a')?.id).toBe('a');
  });

  it('forgets what is deleted, its items too', () => {
    const store = createResponseStore({ now: () => 0 });
    store.put('', response('a'));
    expect(store.delete('', 'a')).toBe(true);
    expect(store.delete('', 'a')).toBe(false);
    expect(store.get('', 'a')).toBeUndefined();
    expect(store.findItem('', 'out_a')).toBeUndefined();
    expect(store.size).toEqual({ count: 0, bytes: 0 });
  });

  it('drops the longest unused when there are too many (R2)', () => {
    const store = createResponseStore({ now: () => 0, maxCount: 2 });
    store.put('', response('a'));
    store.put('', response('b'));
    expect(store.findItem('', 'out_a')).toMatchObject({ id: 'out_a' });
    store.put('', response('c'));
    expect(store.get('', 'a')?.id).toBe('a');
    expect(store.get('', 'b')).toBeUndefined();
    expect(store.findItem('', 'out_b')).toBeUndefined();
  });

  it('drops of the caller who holds the most (R2)', () => {
    const store = createResponseStore({ now: () => 0, maxCount: 4 });
    store.put('small', response('s'));
    for (const id of ['a', 'b', 'c', 'd', 'e']) store.put('large', response(id));
    expect(store.get('small', 's')?.id).toBe('s');
    expect(store.get('large', 'b')).toBeUndefined();
    expect(store.get('large', 'e')?.id).toBe('e');
  });

  it('keeps nothing that alone is over the bound', () => {
    const store = createResponseStore({ now: () => 0, maxBytes: 1000 });
    store.put('', response('small'));
    store.put('', response('large', 'x'.repeat(1000)));
    expect(store.get('', 'large')).toBeUndefined();
    expect(store.get('', 'small')?.id).toBe('small');
  });

  it('forgets what was not used for long (R3)', () => {
    const { time, now } = clock();
    const store = createResponseStore({ now, ttlMs: 100 });
    store.put('', response('a'));
    store.put('', response('b'));
    time.now = 60;
    expect(store.get('', 'a')?.id).toBe('a');
    time.now = 100;
    expect(store.get('', 'b')).toBeUndefined();
    expect(store.findItem('', 'out_b')).toBeUndefined();
    expect(store.get('', 'a')?.id).toBe('a');
    time.now = 200;
    store.put('other', response('c'));
    expect(store.size.count).toBe(1);
  });

  it("keeps an answer's item when a later input claims its id", () => {
    const store = createResponseStore({ now: () => 0 });
    const first = response('a');
    store.put('', first);
    store.put('', { ...response('b'), input: [message('out_a', 'forged')] });
    expect(store.findItem('', 'out_a')).toBe(first.output[0]);
    store.delete('', 'b');
    expect(store.findItem('', 'out_a')).toBe(first.output[0]);
  });

  it('takes no id twice from one caller, and from two callers each their own', () => {
    const store = createResponseStore({ now: () => 0 });
    store.put('alice', response('a'));
    expect(() => store.put('alice', response('a', 'y'))).toThrow(TypeError);
    store.put('bob', response('a', 'z'));
    expect(store.get('alice', 'a')?.body).toMatchObject({ text: 'x' });
    expect(store.get('bob', 'a')?.body).toMatchObject({ text: 'z' });
    expect(store.size.count).toBe(2);
  });

  it('is never over its bounds, and its numbers are those of what it has', () => {
    const step = fc.record({
      owner: fc.constantFrom('a', 'b', 'c'),
      text: fc.string({ maxLength: 200 }),
      act: fc.constantFrom('put', 'put', 'get', 'delete', 'wait'),
      pick: fc.nat(30),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { time, now } = clock();
        const store = createResponseStore({ now, maxCount: 5, maxBytes: 1500, ttlMs: 10 });
        const owners = new Map<string, string>();
        steps.forEach(({ owner, text, act, pick }, i) => {
          if (act === 'put') {
            owners.set(`r${i}`, owner);
            store.put(owner, response(`r${i}`, text));
          }
          if (act === 'get') store.get(owner, `r${pick}`);
          if (act === 'delete') store.delete(owner, `r${pick}`);
          if (act === 'wait') time.now += pick;
          expect(store.size.count).toBeLessThanOrEqual(5);
          expect(store.size.bytes).toBeLessThanOrEqual(1500);
        });
        for (const [id, owner] of owners) store.delete(owner, id);
        expect(store.size).toEqual({ count: 0, bytes: 0 });
      }),
      { numRuns: 200 },
    );
  });
});
