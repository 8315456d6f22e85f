import { expect, it } from 'vitest';
import { computeLogprobs } from '../../inference/token-logprobs.ts';

const describeToken = (id: number) => ({ text: `t${id}`, bytes: [id] });

it('is the softmax, the most probable first, ties by id', () => {
  const logits = Float32Array.from([0, Math.log(2), Math.log(2), Math.log(4)]);
  const found = computeLogprobs(logits, 0, 3, describeToken);
  expect(found.id).toBe(0);
  expect(found.text).toBe('t0');
  expect(found.logprob).toBeCloseTo(Math.log(1 / 9), 6);
  expect(found.top.map(({ id }) => id)).toEqual([3, 1, 2]);
  expect(found.top[0]?.logprob).toBeCloseTo(Math.log(4 / 9), 6);
  const all = computeLogprobs(logits, 3, 10, describeToken).top;
  expect(all).toHaveLength(4);
  expect(all.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0)).toBeCloseTo(1, 6);
});

it('has no alternatives where none are wanted, and a number for what is all but impossible', () => {
  const found = computeLogprobs(Float32Array.from([-30_000, 0]), 0, 0, describeToken);
  expect(found.top).toEqual([]);
  expect(found.logprob).toBe(-9999);
});
