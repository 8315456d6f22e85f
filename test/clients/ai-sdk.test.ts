import * as openai from '@ai-sdk/openai';
import * as compatible from '@ai-sdk/openai-compatible';
import * as ai from 'ai';
import { z } from 'zod';
import { describeClients } from './describe-clients.ts';
import { aiSdkScenarios } from './scenarios/ai-sdk.ts';

describeClients('ai', aiSdkScenarios, { ai, openai, compatible, z });
