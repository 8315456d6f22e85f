/**
 * The commands of the pages for readers: what a person would copy from `README.md` and the pages it leads to.
 *
 * A fence of `sh` holds commands, one a line (a backslash at its end goes on in the next), each with a comment after two blanks or more, or
 * none. A fence whose language is followed by a name is that file. Nothing else is executed.
 *
 * @module
 */

import { readFileSync } from 'node:fs';

/** Pages in the order in which they are read; the first one makes the clone that all others work in. */
export const PAGES = [
  'README.md',
  'agents/README.md',
  'inference/README.md',
  'agents/cli/README.md',
  'agents/setup/README.md',
] as const;

/** What a page has its reader do, in the page's order. */
export type Step = Command | WrittenFile;

/** One command of a page. */
export type Command = {
  readonly kind: 'command';
  readonly page: string;
  /** Number of its first line in the page, from 1. */
  readonly line: number;
  /** The heading it stands under. */
  readonly section: string;
  /** As a shell takes it, without the comment. */
  readonly text: string;
  /** `exit code N` of the comment; 0 where it says none. */
  readonly exitCode: number;
  /** Verdicts that the comment names: they must stand in what the command prints. */
  readonly verdicts: readonly string[];
};

/** A file that the reader writes. */
export type WrittenFile = {
  readonly kind: 'file';
  readonly page: string;
  readonly line: number;
  readonly section: string;
  readonly name: string;
  readonly text: string;
};

/** A page that does not keep the form above. */
export class PageError extends Error {
  override readonly name = 'PageError';
}

/** The steps of a page of this repository. */
export function readPage(root: string, page: string): Step[] {
  return parsePage(page, readFileSync(`${root}/${page}`, 'utf8'));
}

/**
 * The steps of a page.
 *
 * @throws {@link PageError} where a fence does not end, is indented, or a file's name leads out of the folder
 */
export function parsePage(page: string, markdown: string): Step[] {
  const steps: Step[] = [];
  const lines = markdown.split('\n');
  let section = '';
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? '';
    section = /^#+ (.+)$/.exec(line)?.[1] ?? section;
    if (/^\s+```/.test(line)) throw new PageError(`${page}:${at + 1}: an indented fence would not be executed`);
    const fence = /^```(\S*)(?: (.+))?$/.exec(line);
    if (fence === null) continue;
    const end = lines.indexOf('```', at + 1);
    if (end < 0) throw new PageError(`${page}:${at + 1}: a fence without an end`);
    const body = lines.slice(at + 1, end);
    const [, language = '', name] = fence;
    if (name !== undefined) {
      if (!/^[\w-][\w.-]*$/.test(name)) throw new PageError(`${page}:${at + 1}: not the name of a file: ${name}`);
      steps.push({ kind: 'file', page, line: at + 1, section, name, text: `${body.join('\n')}\n` });
    } else if (language === 'sh') {
      steps.push(...readCommands({ page, line: at + 2, section }, body));
    }
    at = end;
  }
  return steps;
}

function readCommands(place: Pick<Command, 'page' | 'line' | 'section'>, body: readonly string[]): Command[] {
  const commands: Command[] = [];
  for (let at = 0; at < body.length; at++) {
    const first = at;
    let text = body[at] ?? '';
    while (text.endsWith('\\') && at + 1 < body.length) text = `${text.slice(0, -1)}${body[++at]}`;
    const [, command = '', comment = ''] = /^(.*?)(?:(?:^|\s{2,})# (.*))?$/.exec(text) ?? [];
    if (command.trim() === '') continue;
    commands.push({
      kind: 'command',
      ...place,
      line: place.line + first,
      text: command.trim(),
      exitCode: Number(/\bexit code (\d+)/.exec(comment)?.[1] ?? 0),
      verdicts: comment.match(/\b(?:MATCH|INVALID|DIVERGED|CANNOT_RECOMPUTE)\b/g) ?? [],
    });
  }
  return commands;
}
