import * as messages from '@langchain/core/messages';
import * as tools from '@langchain/core/tools';
import * as langchain from '@langchain/openai';
import { z } from 'zod';
import { describeClients } from './describe-clients.ts';
import { langChainScenarios } from './scenarios/langchain.ts';

describeClients('@langchain/openai', langChainScenarios, { langchain, messages, tools, z });
