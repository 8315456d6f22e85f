/**
 * The text of an answer as its tokens come: whole characters only, and nothing that may still be cut off by a stop text.
 *
 * T1. The pieces together are the text of all tokens, up to the first stop text.
 * T2. A piece is given out as soon as no later token can change it.
 *
 * @module
 */

/** What a token adds to a text; null for one that adds nothing, as control tokens do. */
export type TokenText = { bytesOf(id: number, isFirst: boolean): Uint8Array | null };

/** The text of one answer. */
export class AnswerText {
  readonly #tokens: TokenText;
  readonly #stop: readonly string[];
  /** As `TextDecoder` of the Encoding Standard: bytes that are no UTF-8 become U+FFFD, the same in pieces as at once. */
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  #held = '';
  #given = '';
  #isFirst = true;
  #isStopped = false;

  /** @param stop - texts before which the text ends, none empty */
  constructor(tokens: TokenText, stop: readonly string[]) {
    this.#tokens = tokens;
    this.#stop = stop;
  }

  /** Whether a stop text has come. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** All pieces given out so far. */
  get text(): string {
    return this.#given;
  }

  /** Adds a token; returns what is certain now and was not before. After a stop text all is. */
  push(id: number): string {
    const bytes = this.#tokens.bytesOf(id, this.#isFirst);
    if (bytes === null) return '';
    this.#isFirst = false;
    return this.#take(this.#decoder.decode(bytes, { stream: true }));
  }

  /** Ends the text; returns the rest of it. */
  end(): string {
    if (this.#isStopped) return '';
    const rest = this.#take(this.#decoder.decode());
    return this.#isStopped ? rest : rest + this.#give(this.#held.length);
  }

  #take(text: string): string {
    this.#held += text;
    const places = this.#stop.map((stop) => this.#held.indexOf(stop)).filter((at) => at >= 0);
    if (places.length > 0) {
      this.#isStopped = true;
      return this.#give(Math.min(...places));
    }
    return this.#give(
      this.#held.length - this.#stop.reduce((most, stop) => Math.max(most, endsLike(this.#held, stop)), 0),
    );
  }

  #give(length: number): string {
    const piece = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    this.#given += piece;
    return piece;
  }
}

/** Length of the longest end of a text, shorter than the mark, with which the mark begins. */
export function endsLike(text: string, mark: string): number {
  for (let length = Math.min(text.length, mark.length - 1); length > 0; length--) {
    if (mark.startsWith(text.slice(-length))) return length;
  }
  return 0;
}
