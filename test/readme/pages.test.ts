import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ROOT } from '../pins/error-table.ts';
import { type Command, PAGES, parsePage, readPage } from './pages.ts';
import { openReader, type Reader } from './reader.ts';

const page = (...lines: string[]) => lines.join('\n');
const command = (text: string, more: Partial<Command> = {}): Command => ({
  kind: 'command',
  page: 'A.md',
  line: 1,
  section: 'One',
  text,
  exitCode: 0,
  verdicts: [],
  ...more,
});

describe('commands of a page', () => {
  it('are the lines of fences of sh, with the place, the section and what the comment promises', () => {
    const markdown = page(
      '# Title',
      '```text',
      'not this',
      '```',
      '## One',
      '```sh',
      'a --color "#fff"',
      '',
      '# a remark',
      "b 'x' \\",
      '  -c      # three lies: INVALID, DIVERGED, exit code 2',
      '```',
    );
    const one = { kind: 'command', page: 'P.md', section: 'One' };
    expect(parsePage('P.md', markdown)).toEqual([
      { ...one, line: 7, text: 'a --color "#fff"', exitCode: 0, verdicts: [] },
      { ...one, line: 10, text: "b 'x'   -c", exitCode: 2, verdicts: ['INVALID', 'DIVERGED'] },
    ]);
  });

  it('come in one order with the files that the reader writes', () => {
    const markdown = page('```ts agent.ts', 'code', '```', '```sh', 'run agent.ts', '```', '```json', '{}', '```');
    expect(parsePage('P.md', markdown).map((step) => [step.kind, step.text])).toEqual([
      ['file', 'code\n'],
      ['command', 'run agent.ts'],
    ]);
  });

  it.each([
    ['a fence without an end', page('```sh', 'a')],
    ['an indented fence', page('- item', '  ```sh', '  a', '  ```')],
    ['a name that leads out of the folder', page('```ts ../x.ts', 'a', '```')],
  ])('refuses %s', (_, markdown) => {
    expect(() => parsePage('P.md', markdown)).toThrow(/^P\.md:\d/);
  });

  it('are there on the pages of this repository, the clone first', () => {
    const steps = PAGES.flatMap((name) => readPage(ROOT, name));
    expect(steps[0]?.text).toMatch(/^git clone REPOSITORY /);
    expect(steps.filter(({ kind }) => kind === 'command').length).toBeGreaterThan(20);
    expect(steps.filter((step) => step.kind === 'command' && step.text === 'npm test')).toHaveLength(1);
  });
});

describe('a reader', () => {
  let folder: string;
  let reader: Reader;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'tracebond-test-'));
    reader = openReader(folder, ROOT);
  });
  afterEach(async () => {
    await reader.endServers();
    rmSync(folder, { recursive: true, force: true });
  });

  it('keeps folder and variables from one command to the next, and has a home of its own', async () => {
    expect((await reader.run(command('mkdir sub && cd sub; export GREETING="a b"'))).failure).toBeUndefined();
    reader.write({ kind: 'file', page: 'A.md', line: 1, section: 'One', name: 'f.txt', text: 'here\n' });
    const line = `[ "$GREETING" = "a b" ] && [ "$(cat f.txt)" = here ] && [ "$HOME" = '${folder}/home' ]`;
    expect((await reader.run(command(line))).failure).toBeUndefined();
    expect(
      (await reader.run(command('[ -z "$VITEST$npm_config_user_agent$TRACEBOND_MODEL" ]'))).failure,
    ).toBeUndefined();
  });

  it.each([
    ['another exit code than the page says', command('exit 3'), /ended with 3, not with 0/],
    ['success where the page says a failure', command('true', { exitCode: 2 }), /ended with 0, not with 2/],
    ['a verdict that is not printed', command('echo MATCHED', { verdicts: ['MATCH'] }), /does not print MATCH/],
    ['a word that nothing printed', command('echo OPERATOR'), /no command before printed what OPERATOR/],
    ['a server that ends', command('npm start --no-such-folder --prefix /nowhere'), /ended with \d+/],
  ])('says so: %s', async (_, step, failure) => {
    expect((await reader.run(step)).failure).toMatch(failure);
  });

  it('fills a word in from what was printed last', async () => {
    const [first, second] = ['1', '2'].map((digit) => `0x${digit.repeat(40)}`);
    await reader.run(command(`printf '  operator   ${first}\\n  operator   ${second}\\n'`));
    expect((await reader.run(command(`[ OPERATOR = ${second} ]`))).failure).toBeUndefined();
  });
});
