/**
 * Runs the deterministic programs in a process of its own and prints their states as JSON. Options of V8 that this process
 * was started with go on to the sandbox processes, which have none of their own accord.
 *
 * @module
 */

import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import { DETERMINISTIC_PROGRAMS, runToEnd } from './sandbox-programs.ts';

const nodeOptions = process.execArgv.filter((option) => /^--(?:no-|liftoff|stack-size)/.test(option));
const vm = await openQuickJsVm({ nodeOptions });
const outcomes: unknown[] = [vm.engine];
for (const [name, body] of DETERMINISTIC_PROGRAMS) outcomes.push([name, await runToEnd(vm, body)]);
await vm.close();
process.stdout.write(JSON.stringify(outcomes, (_key, value) => (typeof value === 'bigint' ? String(value) : value)));
