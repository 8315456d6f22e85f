/**
 * The decoders that the binary32 graph computes: those of GGUF files, less the features that the graph does not have.
 *
 * @module
 */

import type { DecoderConfig } from '../decoder-config.ts';
import { ModelError } from '../errors.ts';
import { readDecoderConfig } from '../gguf/gguf-config.ts';
import type { ByteSource } from '../gguf/source.ts';
import type { Gguf } from '../gguf/types.ts';

/**
 * Reads and checks the shape of the decoder in a file.
 *
 * @throws {@link ModelError} as {@link readDecoderConfig}; `UNSUPPORTED_FEATURE` also for scaled rotary angles, norms of
 * heads, and heads that together are not as wide as the embedding
 */
export function readLlamaConfig(gguf: Gguf, source: ByteSource): DecoderConfig {
  const config = readDecoderConfig(gguf, source);
  const refused: readonly (readonly [boolean, string])[] = [
    [config.rotaryScaling.kind !== 'none', 'scaled rotary angles'],
    [config.headNorm, 'norms of queries and keys'],
    [config.heads * config.headSize !== config.embedding, 'heads that are not as wide as the embedding together'],
  ];
  for (const [present, feature] of refused) {
    if (present) throw new ModelError('UNSUPPORTED_FEATURE', `${feature}: the binary32 graph does not compute them`);
  }
  return config;
}
