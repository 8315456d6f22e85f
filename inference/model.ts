/**
 * Opens a model file: checks it, makes or finds its graph, and returns an engine that answers requests one at a time.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { type Hex, toHex } from '../attest/core/bytes.ts';
import type { JsonObject } from '../attest/encoding/canonical-json.ts';
import type { DecoderConfig } from './decoder-config.ts';
import type { Engine, ModelIdentity } from './engine.ts';
import { ModelError } from './errors.ts';
import { hashFile } from './file-digest.ts';
import { FloatEngine } from './float/float-engine.ts';
import { ensureGraphFiles } from './float/graph-files.ts';
import { readLlamaConfig } from './float/llama-config.ts';
import { buildLlamaGraph, FLOAT_GRAPH_VERSION, rotaryTable } from './float/llama-graph.ts';
import { parseGguf } from './gguf/reader.ts';
import { openFileSource } from './gguf/source.ts';
import { installedVersion, localProfile } from './local-profile.ts';
import { jsonDigest } from './profile.ts';
import { openSession } from './session.ts';
import { openTokenizer } from './tokenizer.ts';
import { readTokenizer, type TokenizerDescription } from './tokenizer-json.ts';

/**
 * Opens a model file.
 *
 * @param options.path - GGUF file, untrusted
 * @param options.id - name under which the model is served
 * @param options.cacheDir - folder for the graph and its weights in binary32 (four bytes a weight); made if absent
 * @throws {@link ModelError} with the reason why the file cannot be served
 */
export async function openEngine(options: openEngine.Options): Promise<Engine> {
  const { path, id, cacheDir, onProgress = () => {} } = options;
  const source = openFileSource(path);
  try {
    const gguf = parseGguf(source);
    const config = readLlamaConfig(gguf, source);
    const description = readTokenizer(gguf);
    if (description.chatTemplate === null) {
      throw new ModelError('MISSING_METADATA', 'the file has no tokenizer.chat_template', {
        at: { key: 'tokenizer.chat_template' },
      });
    }
    onProgress('hashing the model file');
    const model = await hashFile(path);
    const graph = buildLlamaGraph(config);
    const modelPath = await ensureGraphFiles({ source, gguf, config, graph, model }, cacheDir, onProgress);
    const tokenizer = openTokenizer(description);
    onProgress('loading the graph');
    const session = await openSession(modelPath);
    const identity = identify(id, model, config, description, graph.model);
    return new FloatEngine(identity, config, tokenizer, session);
  } finally {
    source.close();
  }
}

export declare namespace openEngine {
  type Options = {
    readonly path: string;
    readonly id: string;
    readonly cacheDir: string;
    readonly onProgress?: (message: string) => void;
  };
}

function identify(
  id: string,
  model: Hex,
  config: DecoderConfig,
  description: TokenizerDescription,
  graph: Uint8Array,
): ModelIdentity {
  const tables = createHash('sha256');
  for (const kind of ['cos', 'sin'] as const) tables.update(new Uint8Array(rotaryTable(config, kind).buffer));
  return {
    id,
    model,
    tokenizer: jsonDigest(description as unknown as JsonObject),
    operations: jsonDigest({
      graph: toHex(createHash('sha256').update(graph).digest()),
      tables: toHex(tables.digest()),
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
  };
}
