/**
 * Runs generated modules in a process of its own, under the compiler that its flags choose: `SEED FIRST COUNT`. Prints the
 * digest of each as one JSON list.
 *
 * @module
 */

import { tryModule } from './meter-trials.ts';

const [seed = 0, first = 0, count = 0] = process.argv.slice(2).map(Number);
process.stdout.write(JSON.stringify(Array.from({ length: count }, (_, i) => tryModule(seed, first + i).digest)));
