/** The command line from source, in a process of its own. */

import { main } from '../../agents/cli/main.ts';

process.exitCode = await main(process.argv);
