import * as agents from '@openai/agents';
import { OpenAI } from 'openai';
import { z } from 'zod';
import { describeClients } from './describe-clients.ts';
import { agentsScenarios } from './scenarios/agents.ts';

agents.setTracingDisabled(true);

describeClients('@openai/agents', agentsScenarios, { agents, OpenAI, z });
