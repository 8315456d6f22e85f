import { copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { verifyFile } from '../../../agents/cli/verify.ts';
import { trustSigner } from '../../../attest/verify/trust.ts';
import { createExecutor } from '../../../runtime/replay.ts';
import { API_GUESTS, openRunApi } from '../../support/run-api.ts';
import { OPERATOR, toyRecomputer } from '../../support/toy-run.ts';
import { toyVm } from '../../support/toy-vm.ts';

describe('the bundle of a child run', () => {
  it('is looked for beside that of its parent', async () => {
    const { settled, send, manager, folder } = await openRunApi();
    const parent = await settled('delegate');
    const child = manager.list().find((one) => one.parent?.run === parent.id);
    await send('POST', `/v1/runs/${child?.run}/approvals/${child?.waiting[0]?.index}`, { approved: true });
    await vi.waitFor(() => expect(manager.get(parent.id).status).toBe('done'));
    const opened = { executor: createExecutor(toyVm(API_GUESTS), toyRecomputer), close: async () => {} };
    const verify = () => verifyFile(manager.bundle(parent.id), trustSigner(OPERATOR), opened);
    expect(await verify()).toMatchObject({ verdict: 'MATCH' });
    const path = manager.bundle(child?.run ?? '0x');
    copyFileSync(manager.bundle(parent.id), join(folder, 'other'));
    rmSync(path);
    expect(await verify()).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'CHILD_RUN' });
    // Another run under its name.
    copyFileSync(join(folder, 'other'), path);
    expect((await verify()).verdict).toBe('DIVERGED');
  });
});
