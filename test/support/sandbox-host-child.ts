/**
 * A host that is about to be killed: runs a guest without end in a sandbox process, and prints that process's id. Its argument
 * is the kind of wall: the one there is, or `none`.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { meterModule } from '../../runtime/sandbox/meter.ts';
import { openProcessPool } from '../../runtime/sandbox/process-pool.ts';
import { bundleProgram } from '../../runtime/sandbox/program.ts';
import { findWall, noWall } from '../../runtime/sandbox/wall.ts';
import { encodeCommand } from '../../runtime/sandbox/wire.ts';
import { guestOptions } from './sandbox-programs.ts';

const wall = process.argv[2] === 'none' ? noWall('on purpose') : await findWall();
const engine = meterModule(
  readFileSync(createRequire(import.meta.url).resolve('@jitl/quickjs-wasmfile-release-sync/wasm')),
);
const pool = openProcessPool(wall, { ...bundleProgram(), engine: engine.bytes });
const sandbox = await pool.acquire();
const options = guestOptions('for (;;);', { fuel: 1n << 50n });
const answer = sandbox.ask(encodeCommand({ type: 'start', options }), 65_536, 60_000);
process.stdout.write(`${sandbox.pid}\n`);
await answer;
