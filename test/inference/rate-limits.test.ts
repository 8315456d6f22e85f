import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openRateLimits } from '../../inference/rate-limits.ts';

function limited(requestsPerMinute: number | null, tokensPerMinute: number | null) {
  let nowMs = 0;
  const rates = openRateLimits(() => nowMs);
  const admit = (tokens = 0, id = 'a') => rates.admit({ id, limits: { requestsPerMinute, tokensPerMinute } }, tokens);
  const advance = (seconds: number) => {
    nowMs += seconds * 1000;
  };
  return { admit, advance };
}

const refusal = (retryAfterSeconds: number) =>
  expect.objectContaining({ code: 'RATE_LIMITED', at: { retryAfterSeconds } });

describe('limits of a minute', () => {
  it('let so many requests in at once and then one after the other', () => {
    const { admit, advance } = limited(3, null);
    for (let i = 0; i < 3; i++) admit();
    expect(() => admit()).toThrow(refusal(20));
    advance(19);
    expect(() => admit()).toThrow(refusal(1));
    advance(1);
    admit();
    expect(() => admit()).toThrow(refusal(20));
    advance(3600);
    for (let i = 0; i < 3; i++) admit();
    expect(() => admit()).toThrow(refusal(20));
  });

  it('hold no more than a minute’s worth, also of a key that is seen again within the minute', () => {
    const { admit, advance } = limited(3, null);
    admit();
    advance(59);
    for (let i = 0; i < 3; i++) admit();
    expect(() => admit()).toThrow(refusal(20));
  });

  it('count each key on its own, and nothing where there is no limit', () => {
    const { admit } = limited(1, null);
    admit(0, 'a');
    admit(0, 'b');
    expect(() => admit(0, 'a')).toThrow(refusal(60));
    const free = limited(null, null);
    for (let i = 0; i < 1000; i++) free.admit(1e9);
  });

  it('take the most that a request may have, and give back what it had not', () => {
    const { admit, advance } = limited(null, 600);
    const one = admit(500);
    expect(() => admit(200)).toThrow(refusal(10));
    one.settle(100);
    one.settle(0);
    admit(500);
    expect(() => admit(1)).toThrow(refusal(1));
    advance(1);
    admit(10);
  });

  it('make up for what was more than said', () => {
    const { admit, advance } = limited(null, 60);
    admit(0).settle(120);
    expect(() => admit(1)).toThrow(refusal(61));
    advance(61);
    admit(1);
  });

  it('forgive nothing that was taken beyond, however long the key is not seen', () => {
    const { admit, advance } = limited(null, 60);
    admit(0).settle(300);
    advance(90);
    admit(0, 'b');
    expect(() => admit(1)).toThrow(refusal(151));
  });

  it('let a request of more than a minute holds in when the minute is whole', () => {
    const { admit, advance } = limited(null, 60);
    admit(1000).settle(120);
    expect(() => admit(1000)).toThrow(refusal(120));
    advance(120);
    admit(1000);
  });

  it('say which of them it is', () => {
    const { admit } = limited(2, 100);
    admit(100);
    expect(() => admit(50)).toThrow(/100 tokens a minute/);
    admit(0);
    expect(() => admit(0)).toThrow(/2 requests a minute/);
  });

  it('count nothing for what they refuse', () => {
    const { admit } = limited(2, 100);
    admit(100);
    for (let i = 0; i < 5; i++) expect(() => admit(1)).toThrow(refusal(1));
    // A request more is left.
    admit(0);
    expect(() => admit(0)).toThrow(refusal(30));
  });

  it('are never passed by more than one minute’s worth, and tell when to come again', () => {
    const step = fc.record({ seconds: fc.nat({ max: 30 }), count: fc.nat({ max: 8 }) });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), fc.array(step, { maxLength: 30 }), (perMinute, steps) => {
        const { admit, advance } = limited(perMinute, null);
        let passed = 0;
        let seconds = 0;
        for (const step of steps) {
          advance(step.seconds);
          seconds += step.seconds;
          for (let i = 0; i < step.count; i++) {
            try {
              admit();
              passed += 1;
            } catch (error) {
              const { retryAfterSeconds } = (error as { at: { retryAfterSeconds: number } }).at;
              advance(retryAfterSeconds);
              seconds += retryAfterSeconds;
              admit();
              passed += 1;
            }
          }
        }
        expect(passed).toBeLessThanOrEqual(perMinute + (seconds * perMinute) / 60 + 1e-6);
      }),
    );
  });
});
