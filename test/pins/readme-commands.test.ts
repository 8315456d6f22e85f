import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { main } from '../../agents/cli/main.ts';
import { CANNOT_CODES, EXIT_CODES } from '../../attest/verify/verdict.ts';
import { PAGES, parsePage } from '../readme/pages.ts';
import { ROOT } from './error-table.ts';

const pages = [...PAGES, 'CONTRIBUTING.md'].map((name) => ({ name, text: readFileSync(join(ROOT, name), 'utf8') }));
const text = pages.map((page) => page.text).join('\n');
const scripts = Object.keys((JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Package).scripts);

type Package = { readonly scripts: Readonly<Record<string, string>> };

/** `tracebond` commands of the program, subcommands with their parent. */
const COMMANDS = [
  'demo',
  'verify',
  'inspect',
  'generate',
  'check',
  'serve inference',
  'conformance',
  'keys new',
  'keys list',
  'keys address',
  'models commit',
  'models list',
  'models pull',
  'models rm',
  'access-keys create',
  'access-keys list',
  'access-keys revoke',
  'verify-receipt',
  'run',
  'serve runtime',
  'runs list',
  'runs show',
  'runs cancel',
  'runs pause',
  'runs resume',
  'runs approve',
  'runs reconcile',
  'runs bundle',
  'runs forget',
  'redact',
  'serve worker',
  'serve mcp',
  'mcp pin',
  'mcp check',
  'wallet address',
  'wallet list',
] as const;

/** Lines and code spans that hold a command, cut into single ones. */
function commandsIn(markdown: string): string[] {
  const spans = [...markdown.matchAll(/`([^`\n]+)`/g)].map(([, span = '']) => span);
  const lines = [...markdown.matchAll(/```(?:sh|text)\n([\s\S]*?)```/g)].flatMap(([, block = '']) => block.split('\n'));
  return [...spans, ...lines.map((line) => line.replace(/#.*$/, ''))];
}

/** What `tracebond COMMAND --help` prints; the last listener on standard output is the program's own. */
const helps = new Map<string, Promise<string>>();
function helpOf(command: string): Promise<string> {
  const known = helps.get(command);
  if (known !== undefined) return known;
  const help = printHelp(command);
  helps.set(command, help);
  return help;
}

async function printHelp(command: string): Promise<string> {
  const printed: string[] = [];
  const before = process.stdout.listeners('error');
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((part) => printed.push(String(part)) > 0);
  try {
    expect(await main(['node', 'tracebond', ...command.split(' ').filter(Boolean), '--help'])).toBe(0);
  } finally {
    write.mockRestore();
    for (const listener of process.stdout.listeners('error')) {
      if (!before.includes(listener)) process.stdout.off('error', listener as () => void);
    }
  }
  return printed.join('');
}

/** The command, or else the whole group of commands, at the head of `words`. */
function commandOf(words: string): string | undefined {
  if (COMMANDS.some((command) => command.startsWith(`${words} `))) return words;
  return COMMANDS.find((command) => words === command || words.startsWith(`${command} `));
}

describe('commands that the pages name', () => {
  const named = commandsIn(text).flatMap((line) => {
    const [, words] = /(?:^|\s)tracebond ([a-z].*)$/.exec(line) ?? [];
    return words === undefined || /^&&/.test(words) ? [] : [words.trim()];
  });

  it('are there to be checked', () => {
    expect(named.length).toBeGreaterThan(10);
    for (const command of COMMANDS) expect(named.map(commandOf)).toContain(command);
  });

  it.each([...new Set(named)])('tracebond %s', async (words) => {
    const command = commandOf(words);
    expect(command, 'no such command').toBeDefined();
    const help = await helpOf(command ?? '');
    expect(help.split('\n')[0]).toContain(`Usage: tracebond ${command}`);
    for (const [option] of words.matchAll(/--[a-z-]+/g)) expect(help).toContain(option);
  });

  it('are all that the program has', async () => {
    const listed = async (parent: string) =>
      [...(await helpOf(parent)).matchAll(/^ {2}([a-z-]+)(?: \[| <| {2,})/gm)]
        .map(([, name = '']) => name)
        .filter((name) => name !== 'help');
    const top = (await listed('')).filter((name) => name !== 'bundle');
    const found = [];
    for (const name of top) {
      const isGroup = COMMANDS.some((command) => command.startsWith(`${name} `));
      found.push(...(isGroup ? (await listed(name)).map((sub) => `${name} ${sub}`) : [name]));
    }
    expect(found.sort()).toEqual([...COMMANDS].sort());
  });

  it.each(COMMANDS)('tell every option of tracebond %s', async (command) => {
    const told = named.filter((words) => commandOf(words) === command).join(' ');
    const options = new Set(
      [...(await helpOf(command)).matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)/gm)].map(([, name]) => name),
    );
    options.delete('--help');
    // One remark in README gives all commands for keys their only option.
    if (command.startsWith('keys ')) expect(options).toEqual(new Set(['--json']));
    else expect([...options].filter((option) => !told.includes(option ?? ''))).toEqual([]);
  });

  it('are npm scripts where they say so', () => {
    const run = commandsIn(text).flatMap((line) =>
      [...line.matchAll(/\bnpm run (?:-s )?([a-z:]+)/g)].map(([, name]) => name),
    );
    const short = commandsIn(text).flatMap((line) =>
      [...line.matchAll(/\bnpm (test|start)\b/g)].map(([, name]) => name),
    );
    expect(new Set(short)).toEqual(new Set(['test', 'start']));
    expect([...run, ...short].filter((name) => !scripts.includes(name ?? ''))).toEqual([]);
    expect(run).toContain('demo');
  });
});

describe('facts of README', () => {
  const table = (heading: string): string => {
    const [, section = ''] = text.split(new RegExp(`^## ${heading}$`, 'm'));
    return section.split(/^## /m)[0] ?? '';
  };

  it('paths exist', () => {
    const linked = pages.flatMap((page) =>
      [...page.text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map(([, path = '']) => join(dirname(page.name), path)),
    );
    const spans = [...text.matchAll(/`((?:attest|inference|runtime|agents|test)\/[^`\s]*)`/g)].map(
      ([, path = '']) => path,
    );
    expect(spans.length).toBeGreaterThan(20);
    expect([...linked, ...spans].filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });

  it('verdicts have their exit codes', () => {
    const rows = [...table('Verdicts and exit codes').matchAll(/^\| `(\w+)` \| .* \| (\d) \|$/gm)];
    expect(Object.fromEntries(rows.map(([, verdict, code]) => [verdict, Number(code)]))).toEqual(EXIT_CODES);
  });

  it('codes of CANNOT_RECOMPUTE are all there, in their order', () => {
    const rows = [...table('Verdicts and exit codes').matchAll(/^\| `([A-Z_]+)` \| [^|]* \|$/gm)];
    expect(rows.map(([, code]) => code)).toEqual([...CANNOT_CODES]);
  });

  it('environment variables are those that the code reads', () => {
    const told = [...table('Environment variables').matchAll(/^\| `([A-Z_]+)` \|/gm)].map(([, name]) => name);
    const read = new Set<string>();
    for (const folder of ['attest', 'inference', 'runtime', 'agents', 'test']) {
      for (const entry of readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || !/\.(ts|mjs)$/.test(entry.name)) continue;
        const source = readFileSync(join(entry.parentPath, entry.name), 'utf8');
        for (const [, name = ''] of source.matchAll(
          /\benv(?:\.|\[')((?:(?:TRACEBOND|XDG|HF|OTEL|REDIS)_[A-Z_]+|(?:WAYLAND_)?DISPLAY))/g,
        ))
          read.add(name);
      }
    }
    expect([...read].sort()).toEqual(told.sort());
  });

  it('links lead to headings that are there', () => {
    const anchors = (markdown: string) =>
      [...markdown.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
        title
          .toLowerCase()
          .replace(/[^\w\- ]/g, '')
          .replaceAll(' ', '-'),
      );
    const lost = pages.flatMap(({ name, text: markdown }) =>
      [...markdown.matchAll(/\]\(([^)#:]*)#([^)]+)\)/g)].filter(([, path = '', anchor = '']) => {
        const target = path === '' ? markdown : readFileSync(join(ROOT, dirname(name), path), 'utf8');
        return !anchors(target).includes(anchor);
      }),
    );
    expect(lost.map(([link]) => link)).toEqual([]);
  });

  it('every command of README.md is one that `npm run readme` executes', () => {
    const executed = parsePage('README.md', pages[0]?.text ?? '').flatMap((step) =>
      step.kind === 'command' ? [step.text] : [],
    );
    const isExecuted = (words: string) => executed.some((line) => line.includes(words));
    const spans = [...(pages[0]?.text ?? '').matchAll(/`((?:npx |npm |tracebond )[^`\n]+)`/g)].map(
      ([, span = '']) => span,
    );
    expect(executed.length).toBeGreaterThan(5);
    expect(spans.filter((span) => !isExecuted(span))).toEqual([]);
  });

  it('no path of one computer is quoted', () => {
    expect(text.replaceAll('--tmpfs /tmp', '')).not.toMatch(/\/(?:root|work|tmp|home\/(?!node))\b/);
  });
});

afterAll(() => helps.clear());
