/**
 * The model of the inference benches: the shipped one, where the set-up put it.
 *
 * @module
 */

import { readEnvironment } from '../../agents/cli/environment.ts';
import { parseGguf } from '../../inference/gguf/reader.ts';
import { openFileSource } from '../../inference/gguf/source.ts';
import { resolveModelPath, SHIPPED_MODEL } from '../../inference/model-path.ts';
import { openTokenizer } from '../../inference/tokenizer.ts';
import { readTokenizer } from '../../inference/tokenizer-json.ts';

/** Where it lies and how it spells texts. */
export type ShippedModel = {
  readonly path: string;
  /** Names its bytes. */
  readonly name: string;
  /** The project's cache folder. */
  readonly cache: string;
  encode(text: string): readonly number[];
  decode(ids: readonly number[]): string;
};

/** @throws {@link ModelPathError} if the set-up has not fetched it */
export function shippedModel(): ShippedModel {
  const { env, home, cache } = readEnvironment();
  const { path } = resolveModelPath(SHIPPED_MODEL.id, env, home);
  const source = openFileSource(path);
  try {
    const tokenizer = openTokenizer(readTokenizer(parseGguf(source)));
    return {
      path,
      name: `${SHIPPED_MODEL.id}-${SHIPPED_MODEL.sha256.slice(0, 12)}`,
      cache,
      encode: (text) => tokenizer.encodeText(text),
      decode: (ids) => tokenizer.decode(ids),
    };
  } finally {
    source.close();
  }
}

/** Benches print figures on standard output; what they say meanwhile goes beside. */
export function say(message: string): void {
  console.error(message);
}
