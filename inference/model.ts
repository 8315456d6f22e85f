/**
 * Opens a model: checks its files, makes or finds what its profile computes with, and starts an engine.
 *
 * @module
 */

import { statSync } from 'node:fs';
import { CompletionEngine } from './completion-engine.ts';
import type { CheckingEngine, LoadedModel, ProfileName } from './engine.ts';
import { ModelError } from './errors.ts';
import type { ExactEngineName } from './exact/engines.ts';
import { openExact } from './exact/open-exact.ts';
import { openHuggingFaceLibrary } from './huggingface-library.ts';
import { openSource } from './model-files.ts';
import type { ModelSource } from './model-source.ts';
import type { OpenTokenLibrary } from './token-library.ts';
import { openTokenizer, type TextTokenizer } from './tokenizer.ts';

/** A model that is loaded, with its tokenizer. */
export type OpenModel = LoadedModel & { readonly tokenizer: TextTokenizer };

/**
 * Loads a model.
 *
 * @throws {@link ModelError} with the reason why it cannot be served; `MISSING_METADATA` if `chat` is asked for and it has no template
 * @throws {@link InferenceError} `OUT_OF_MEMORY` if it does not fit the engine
 */
export async function openModel(options: openModel.Options): Promise<OpenModel> {
  const { path, profile = 'exact' } = options;
  const source = openSource(path);
  try {
    if (options.chat === true && source.tokenizer.chatTemplate === null) {
      throw new ModelError('MISSING_METADATA', 'the file has no tokenizer.chat_template', {
        at: { key: 'tokenizer.chat_template' },
      });
    }
    const tokenizer = openTokenizer(source.tokenizer, await tokenLibrary(profile));
    return { ...(await load(source, tokenizer, profile, options)), tokenizer };
  } finally {
    source.close();
  }
}

export declare namespace openModel {
  type Options = {
    /** GGUF file or folder of safetensors. */
    readonly path: string;
    /** Name under which the model is served. */
    readonly id: string;
    /** Folder for what is made from the model; made if absent. */
    readonly cacheDir: string;
    /** `exact` by default. */
    readonly profile?: ProfileName;
    /** Engine of the profile `exact`; by default the fastest that computes right here. */
    readonly engine?: ExactEngineName;
    /** Threads of the kernels; as many as the computer has by default, at most 8. */
    readonly threads?: number;
    /** Whether a model without a chat template is refused; false by default. */
    readonly chat?: boolean;
    /** Whether the profile `exact` keeps sequences for prompts that begin alike, up to 64 MiB; true by default. */
    readonly prefixCache?: boolean;
    readonly onProgress?: (message: string) => void;
  };
}

/**
 * Opens a model that answers conversations.
 *
 * @throws {@link ModelError} with the reason why it cannot be served, `MISSING_METADATA` if it has no chat template
 */
export async function openEngine(options: openModel.Options & CompletionEngine.Options): Promise<CheckingEngine> {
  const { identity, tokenizer, sequences } = await openModel({ ...options, chat: true });
  return new CompletionEngine(identity, tokenizer, sequences, options);
}

/**
 * Each profile names the packages that make its tokens. Those of ONNX Runtime are loaded for its own profile alone: they take
 * memory that the exact engine does not need.
 */
async function tokenLibrary(profile: ProfileName): Promise<OpenTokenLibrary> {
  if (profile === 'exact') return openHuggingFaceLibrary;
  return (await import('./float/transformers-library.ts')).openTransformersLibrary;
}

async function load(
  source: ModelSource,
  tokenizer: TextTokenizer,
  profile: ProfileName,
  options: openModel.Options,
): Promise<LoadedModel> {
  if (profile === 'exact') return openExact(source, options);
  if (statSync(options.path).isDirectory()) {
    throw new ModelError('UNSUPPORTED_FEATURE', 'the profile float-same-isa reads GGUF files only', {
      at: { file: options.path },
    });
  }
  const { openFloat } = await import('./float/open-float.ts');
  return openFloat(options.path, tokenizer.description, options);
}
