/**
 * `openai`: all scenarios but those of responses.
 *
 * @module
 */

import { chatScenarios } from './openai-chat.ts';
import type { OpenAIScenario } from './openai-client.ts';
import { errorScenarios } from './openai-errors.ts';
import { otherScenarios } from './openai-others.ts';
import { structuredScenarios } from './openai-structured.ts';
import { toolScenarios } from './openai-tools.ts';

export const openAIScenarios: readonly OpenAIScenario[] = [
  ...chatScenarios,
  ...toolScenarios,
  ...structuredScenarios,
  ...otherScenarios,
  ...errorScenarios,
];
