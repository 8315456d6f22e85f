/**
 * From the bytes of a GGUF to a running graph, without the chat on top.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { toHex } from '../../attest/core/bytes.ts';
import type { DecoderConfig } from '../../inference/decoder-config.ts';
import { startSequence } from '../../inference/float/decoder.ts';
import { ensureGraphFiles, type GraphSource } from '../../inference/float/graph-files.ts';
import { readLlamaConfig } from '../../inference/float/llama-config.ts';
import { buildLlamaGraph } from '../../inference/float/llama-graph.ts';
import { parseGguf } from '../../inference/gguf/reader.ts';
import { bytesSource } from '../../inference/gguf/source.ts';
import type { Gguf } from '../../inference/gguf/types.ts';
import type { Sequence } from '../../inference/sequences.ts';
import { openSession } from '../../inference/session.ts';

export type OpenGraph = {
  readonly gguf: Gguf;
  readonly config: DecoderConfig;
  start(): Sequence;
  close(): Promise<void>;
};

/** Everything that is needed to write the files of a graph. */
export function graphSource(bytes: Uint8Array): GraphSource {
  const source = bytesSource(bytes);
  const gguf = parseGguf(source);
  const config = readLlamaConfig(gguf, source);
  return {
    source,
    gguf,
    config,
    graph: buildLlamaGraph(config),
    model: toHex(createHash('sha256').update(bytes).digest()),
  };
}

/** Opens a graph whose files go to `cacheDir`. */
export async function openGraph(bytes: Uint8Array, cacheDir: string): Promise<OpenGraph> {
  const origin = graphSource(bytes);
  const session = await openSession(await ensureGraphFiles(origin, cacheDir));
  return {
    gguf: origin.gguf,
    config: origin.config,
    start: () => startSequence(session, origin.config),
    close: () => session.close(),
  };
}
