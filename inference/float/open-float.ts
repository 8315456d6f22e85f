/**
 * Opens a GGUF file under the profile `float-same-isa`: finds or makes its graph and loads it.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { toHex } from '../../attest/core/bytes.ts';
import type { JsonObject } from '../../attest/encoding/canonical-json.ts';
import type { DecoderConfig } from '../decoder-config.ts';
import type { LoadedModel } from '../engine.ts';
import { hashFile } from '../file-digest.ts';
import { parseGguf } from '../gguf/reader.ts';
import { openFileSource } from '../gguf/source.ts';
import { installedVersion } from '../installed-version.ts';
import { jsonDigest } from '../json-digest.ts';
import { localProfile } from '../local-profile.ts';
import { openSession, SESSION_SETTINGS } from '../session.ts';
import type { TokenizerDescription } from '../tokenizer-json.ts';
import { floatSequences } from './decoder.ts';
import { ensureGraphFiles } from './graph-files.ts';
import { readLlamaConfig } from './llama-config.ts';
import { buildLlamaGraph, FLOAT_GRAPH_VERSION, rotaryTable } from './llama-graph.ts';

/**
 * Opens a model.
 *
 * @param path - GGUF file, untrusted
 * @param tokenizer - of that file
 * @throws {@link ModelError} why the file cannot be served
 */
export async function openFloat(
  path: string,
  tokenizer: TokenizerDescription,
  options: openFloat.Options,
): Promise<LoadedModel> {
  const { id, cacheDir, onProgress = () => {} } = options;
  const source = openFileSource(path);
  try {
    const gguf = parseGguf(source);
    const config = readLlamaConfig(gguf, source);
    onProgress('hashing the model file');
    const model = await hashFile(path);
    const graph = buildLlamaGraph(config);
    const modelPath = await ensureGraphFiles({ source, gguf, config, graph, model }, cacheDir, onProgress);
    onProgress('loading the graph');
    const session = await openSession(modelPath);
    return {
      identity: {
        id,
        model,
        tokenizer: jsonDigest(tokenizer as unknown as JsonObject),
        operations: jsonDigest({
          graph: toHex(createHash('sha256').update(graph.model).digest()),
          tables: tablesDigest(config),
        }),
        profile: jsonDigest(localProfile()),
        profileName: 'float-same-isa',
        engine: jsonDigest({
          name: 'onnxruntime-node',
          version: installedVersion(['onnxruntime-node']),
          graph: FLOAT_GRAPH_VERSION,
        }),
        contextLength: config.contextLength,
        vocabularySize: config.vocabulary,
      },
      engineName: 'ort',
      threads: SESSION_SETTINGS.threads,
      commitment: null,
      sequences: floatSequences(session, config),
    };
  } finally {
    source.close();
  }
}

export declare namespace openFloat {
  type Options = {
    readonly id: string;
    /** Folder for the graph and its weights in binary32 (four bytes a weight); made if absent. */
    readonly cacheDir: string;
    readonly onProgress?: (message: string) => void;
  };
}

function tablesDigest(config: DecoderConfig): string {
  const tables = createHash('sha256');
  for (const kind of ['cos', 'sin'] as const) tables.update(new Uint8Array(rotaryTable(config, kind).buffer));
  return toHex(tables.digest());
}
