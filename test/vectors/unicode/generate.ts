/**
 * Writes `inference/spec/unicode-classes.json` from the tables of the engine that runs this.
 *
 * A new file changes the tokens of some texts, so it is a new commitment of every model: only for a new version of the
 * exact profile. `npx tsx test/vectors/unicode/generate.ts`
 *
 * @module
 */

import { writeFileSync } from 'node:fs';
import { computeClasses } from '../../support/unicode-tables.ts';

const path = new URL('../../../inference/spec/unicode-classes.json', import.meta.url);
writeFileSync(path, `${JSON.stringify(computeClasses(), null, 2)}\n`);
