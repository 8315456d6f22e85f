/**
 * Runs the deterministic programs in a process of its own, as its one argument says ({@link ChildSettings} as JSON), and
 * prints what was seen as JSON.
 *
 * @module
 */

import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import { chooseWall, noWall, type Wall } from '../../runtime/sandbox/wall.ts';
import { type DeterminismReport, observeAll } from './determinism-programs.ts';

/** How the sandbox processes are started; the flags and variables of this process do not reach them. */
export type ChildSettings = {
  /** The second wall: one kind alone; the best there is where it is absent. */
  readonly wall?: 'bubblewrap' | 'namespaces' | 'none';
  /** A command that starts a sandbox process when a Node and its arguments follow it; without a wall. */
  readonly launcher?: readonly string[];
  /** A program in the place of Node; with a launcher only. */
  readonly node?: string;
  readonly nodeOptions?: readonly string[];
  readonly idleProcesses?: number;
  readonly reverse?: boolean;
  /** Names of the programs; all of them where it is absent. */
  readonly only?: readonly string[];
};

/** What the process prints. */
export type ChildReport = DeterminismReport & { readonly node: string; readonly wall: string };

function wallOf({ wall, launcher, node = process.execPath }: ChildSettings): Promise<Wall> | Wall | undefined {
  if (launcher !== undefined) {
    const [file = node, ...args] = [...launcher, node];
    return { kind: 'none', reason: 'a test', command: (nodeArgs) => ({ file, args: [...args, ...nodeArgs] }) };
  }
  if (wall === 'none') return noWall('a test');
  return wall === undefined ? undefined : chooseWall([wall]);
}

const settings = JSON.parse(process.argv[2] ?? '{}') as ChildSettings;
const wall = await wallOf(settings);
const { nodeOptions = [], idleProcesses = 2 } = settings;
const vm = await openQuickJsVm({ ...(wall === undefined ? {} : { wall }), nodeOptions, idleProcesses });
const report: ChildReport = {
  ...(await observeAll(vm, settings)),
  node: process.versions.node,
  wall: vm.secondWall,
};
await vm.close();
process.stdout.write(JSON.stringify(report));
