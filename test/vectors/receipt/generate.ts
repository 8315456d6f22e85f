/**
 * Writes `receipts.json`: `npx tsx test/vectors/receipt/generate.ts > test/vectors/receipt/receipts.json`,
 * then format it.
 *
 * @module
 */

import { type Hex, toHex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import {
  computeReceiptDigest,
  computeReceiptFields,
  type Receipt,
  type ReceiptFacts,
  signReceipt,
} from '../../../attest/sign/receipt.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { factsOf, TEST_KEY, toyRequest } from '../../support/receipt-facts.ts';

const other = (digit: string): Hex => `0x${digit.repeat(64)}`;

const inRun = factsOf('2 + 2 =', ' 4', {
  chainId: 31337n,
  contract: '0x5fbdb2315678afecb367f032d93f642f64180aa3',
  run: sha256(utf8('run')),
  index: 7n,
  runSeed: sha256(utf8('seed')),
});

const called = factsOf('Weather?', '<tool_call>\n{"name": "weather", "arguments": {"city":"Oslo"}}\n</tool_call>');
const toolFacts: ReceiptFacts = {
  ...called,
  completion: { ...called.completion, masks: other('b') },
  request: toyRequest({
    messages: [
      {
        role: 'assistant',
        content: '',
        name: null,
        toolCalls: [{ id: 'call_0', name: 'weather', arguments: '{"city":"Rom"}' }],
        toolCallId: null,
      },
      { role: 'tool', content: 'rain', name: null, toolCalls: [], toolCallId: 'call_0' },
    ],
    tools: [
      {
        name: 'weather',
        description: 'Tells it.',
        parameters: '{"type":"object","properties":{"city":{"type":"string"}}}',
      },
    ],
    toolChoice: { type: 'function', name: 'weather' },
    parallelToolCalls: true,
    sampling: { temperature: 7000, topP: 9000, topK: 40 },
    seed: '18446744073709551615',
  }),
};
const promptFacts: ReceiptFacts = {
  ...factsOf('2 + 2 =', ' 4'),
  request: toyRequest({ messages: [], prompt: '2 + 2 =', stop: ['.'] }),
};

/** Two different things that a service signs as one, when it signs chain id, model, prompt and output end to end. */
const COLLISIONS = [
  {
    name: 'the end of the prompt becomes the answer',
    a: { chainId: '1', model: 'm', prompt: 'Yes or no. Pay invoice 7?', output: ' no. Pay invoice 8? yes' },
    b: { chainId: '1', model: 'm', prompt: 'Yes or no. Pay invoice 7? no. Pay invoice 8?', output: ' yes' },
  },
  {
    name: 'another chain and another model',
    a: { chainId: '1', model: '7b-chat', prompt: 'Pay?', output: 'no' },
    b: { chainId: '17', model: 'b-chat', prompt: 'Pay?', output: 'no' },
  },
];

type Naive = (typeof COLLISIONS)[number]['a'];

/** The facts of one side; a model's digest is that of its name. */
function factsOfNaive({ chainId, model, prompt, output }: Naive): ReceiptFacts {
  const facts = factsOf(prompt, output, { chainId: BigInt(chainId) });
  return { ...facts, request: { ...facts.request, model: toHex(sha256(utf8(model))) } };
}

function concatenation({ chainId, model, prompt, output }: Naive): string {
  return chainId + model + prompt + output;
}

function factsJson({ chainId, index, run, runSeed, ...rest }: ReceiptFacts) {
  return { ...rest, chainId: String(chainId), index: String(index), run: toHex(run), runSeed: toHex(runSeed) };
}

const mutations: readonly { readonly field: keyof Receipt; readonly value: string; readonly wantErr: string }[] = [
  { field: 'chainId', value: '1', wantErr: 'CHAIN_MISMATCH' },
  { field: 'contract', value: `0x${'00'.repeat(20)}`, wantErr: 'CONTRACT_MISMATCH' },
  { field: 'run', value: other('a'), wantErr: 'RUN_MISMATCH' },
  { field: 'index', value: '8', wantErr: 'INDEX_MISMATCH' },
  { field: 'model', value: other('a'), wantErr: 'MODEL_MISMATCH' },
  { field: 'profile', value: other('a'), wantErr: 'PROFILE_MISMATCH' },
  { field: 'engine', value: other('a'), wantErr: 'ENGINE_MISMATCH' },
  { field: 'request', value: other('a'), wantErr: 'REQUEST_MISMATCH' },
  { field: 'seed', value: other('a'), wantErr: 'SEED_MISMATCH' },
  { field: 'promptIds', value: other('a'), wantErr: 'PROMPT_IDS_MISMATCH' },
  { field: 'outputIds', value: other('a'), wantErr: 'OUTPUT_IDS_MISMATCH' },
  { field: 'masks', value: other('a'), wantErr: 'MASKS_MISMATCH' },
  { field: 'text', value: other('a'), wantErr: 'TEXT_MISMATCH' },
  { field: 'finish', value: 'length', wantErr: 'FINISH_MISMATCH' },
];

const file = {
  format: 'tracebond/receipt-vectors@1',
  privateKey: toHex(TEST_KEY),
  signer: addressOf(TEST_KEY),
  cases: [
    { name: 'in a run on a chain', facts: inRun },
    { name: 'outside a run', facts: factsOf('2 + 2 =', ' 4') },
    { name: 'empty output', facts: factsOf('2 + 2 =', '') },
    { name: 'text beyond ASCII', facts: factsOf('Grüße', ' 🌍') },
    { name: 'a call of a tool, drawn', facts: toolFacts },
    { name: 'a prompt that is continued', facts: promptFacts },
  ].map(({ name, facts }) => ({
    name,
    facts: factsJson(facts),
    digest: toHex(computeReceiptDigest(computeReceiptFields(facts))),
    receipt: signReceipt(facts, TEST_KEY),
  })),
  collisions: COLLISIONS.map(({ name, a, b }) => ({
    name,
    a,
    b,
    concatenation: concatenation(a),
    naive: [a, b].map((side) => toHex(sha256(utf8(concatenation(side))))),
    receipt: [a, b].map((side) => toHex(computeReceiptDigest(computeReceiptFields(factsOfNaive(side))))),
  })),
  mutations,
};
process.stdout.write(`${JSON.stringify(file, null, 2)}\n`);
