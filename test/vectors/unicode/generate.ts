/**
 * Writes `inference/spec/unicode-classes.json` and `unicode-normal-form.json` from the tables of the engine that runs
 * this.
 *
 * New files change the tokens of some texts, so they are a new commitment of every model: only for a new version of the
 * exact profile. `npx tsx test/vectors/unicode/generate.ts`
 *
 * @module
 */

import { writeFileSync } from 'node:fs';
import { computeClasses, computeNormalForm } from '../../support/unicode-tables.ts';

const write = (name: string, table: object) =>
  writeFileSync(
    new URL(`../../../inference/spec/${name}.json`, import.meta.url),
    `${JSON.stringify(table, null, 2)}\n`,
  );

write('unicode-classes', computeClasses());
write('unicode-normal-form', computeNormalForm());
