import { OpenAI } from 'openai';
import * as helpers from 'openai/helpers/zod';
import { z } from 'zod';
import { describeClients } from './describe-clients.ts';
import { openAIScenarios } from './scenarios/openai.ts';
import { openAIResponsesScenarios } from './scenarios/openai-responses.ts';

describeClients('openai', [...openAIScenarios, ...openAIResponsesScenarios], { OpenAI, helpers, z });
