/**
 * `tracebond redact`: a copy of a bundle without what was said in it, to show to others.
 *
 * @module
 */

import { type Command, Option } from 'commander';
import { CODE_FIELDS, redactBundle } from '../../runtime/retention.ts';

type Options = { readonly out: string; readonly keep?: readonly string[]; readonly code: boolean };

/** Adds the command. */
export function registerRedact(program: Command): void {
  program
    .command('redact')
    .description('copy a bundle without its payloads; hashes and signatures still hold')
    .argument('<bundle>', 'a closed .trace file')
    .requiredOption('--out <file>', 'a file that is not there yet')
    .addOption(
      new Option('--keep <field>', 'payload to keep, such as body.input or body.tools.*.code; several times').argParser(
        (field: string, fields: readonly string[] = []) => [...fields, field],
      ),
    )
    .option('--no-code', 'take out code and policy too')
    .action(async (bundle: string, { out, keep = [], code }: Options) => {
      const count = await redactBundle(bundle, out, { keep: [...keep, ...(code ? CODE_FIELDS : [])] });
      console.log(`${out}: ${count} payloads withheld`);
    });
}
