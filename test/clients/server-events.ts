/**
 * Server-sent events, strictly: what any client's parser takes alike.
 *
 * @module
 */

/** One event: its name, if it has one, and its data, lines joined. */
export type ServerEvent = { readonly event: string | undefined; readonly data: string };

/**
 * Parses a text of events; comments are left out, an event without its blank line too, as the client may have left there.
 *
 * @throws SyntaxError for a line that is neither a field of an event nor a comment
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
export function parseEvents(text: string): ServerEvent[] {
  const events: ServerEvent[] = [];
  let event: string | undefined;
  let data: string[] = [];
  const lines = text.split(/\r\n|\n|\r/);
  // The last is what follows the last line break.
  for (const line of lines.slice(0, -1)) {
    if (line === '') {
      if (data.length > 0) events.push({ event, data: data.join('\n') });
      event = undefined;
      data = [];
    } else if (!line.startsWith(':')) {
      const [, field, value] = /^(event|data|id|retry): ?(.*)$/s.exec(line) ?? [];
      if (field === undefined || value === undefined) throw new SyntaxError(`not a line of an event: ${line}`);
      if (field === 'event') event = value;
      if (field === 'data') data.push(value);
    }
  }
  return events;
}
