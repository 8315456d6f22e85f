/**
 * OpenAI's document among the third-party vectors.
 *
 * @module
 */

import { join } from 'node:path';
import { type OpenAIDocument, openOpenAIDocument } from '../support/openai-document.ts';
import { vectorsDir } from '../support/vectors.ts';

/** OpenAI's document; undefined, and said so, where third-party vectors are not at hand. */
export function findDocument(): OpenAIDocument | undefined {
  const folder = vectorsDir();
  if (folder === undefined) {
    console.warn("SKIPPED: answers are not held to OpenAI's document (set TRACEBOND_VECTORS)");
    return undefined;
  }
  return openOpenAIDocument(join(folder, 'openai-openapi', 'openapi.json'));
}
