import { describe, expect, it } from 'vitest';
import { toNamespaceImport } from '../../agents/zod-namespace.ts';

describe('the import of zod', () => {
  it.each([
    ["import { z } from 'zod';\nz.string();", "import * as z from 'zod';\nz.string();"],
    [
      '/** Head. */\nimport a from \'a\'; // why\nimport {z} from "zod"\nconst b = z;',
      '/** Head. */\nimport a from \'a\'; // why\nimport * as z from "zod"\nconst b = z;',
    ],
  ])('becomes one of the namespace: %s', (source, expected) => {
    expect(toNamespaceImport(source)).toBe(expected);
  });

  it.each([
    "import { z, ZodError } from 'zod';",
    "import * as z from 'zod';",
    "import { z } from 'other';",
    "const text = `\nimport { z } from 'zod';\n`;",
    "const a = 1;\nimport { z } from 'zod';",
    '',
  ])('stays as it is: %s', (source) => {
    expect(toNamespaceImport(source)).toBeUndefined();
  });
});
