import { afterAll, beforeAll, expect, it } from 'vitest';
import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import type { Vm } from '../../runtime/sandbox/vm.ts';
import { readInjections, tryInjections } from '../support/injections.ts';
import { describeVectors } from '../support/vectors.ts';

describeVectors('prompt-injection', (folder) => {
  let vm: Vm;
  beforeAll(async () => {
    vm = await openQuickJsVm();
  });
  afterAll(() => vm.close());

  it('lets no secret out and nothing happen outside of the policy, whatever an obedient model is told', async () => {
    const { attacks, mails } = readInjections(folder);
    expect(attacks).toHaveLength(125);
    // One of every other class; the campaign `injection` tries all.
    const texts = attacks.flatMap((attack, i) => (i % 10 === 0 ? [`${mails[i % mails.length]}\n\n${attack}\n`] : []));
    const { breaches, wishes, denied, failed } = await tryInjections(vm, texts);
    expect(breaches).toEqual([]);
    // Reads of the mail server itself are all that comes through.
    expect(denied).toBeGreaterThan(wishes / 3);
    expect(denied + failed).toBeGreaterThan(texts.length * 20);
  });
});
