/**
 * A small deterministic engine in memory: its answer is a function of the request, one token id a byte.
 *
 * A user's last message commands it: `fail CODE` refuses, `wait` answers only when it is cancelled, `show`
 * does after a first piece, `bug` throws what no
 * engine should; for a child process only: `hang` works for ever, deaf to its signal, `die` ends the process.
 *
 * @module
 */

import { utf8 } from '../../attest/core/bytes.ts';
import type { CheckingEngine, Completion, CompletionRequest, ModelIdentity } from '../../inference/engine.ts';
import { InferenceError, type InferenceErrorCode } from '../../inference/errors.ts';
import { alongClaim } from './along-claim.ts';

const digest = (digit: string) => `0x${digit.repeat(64)}` as const;

export const TOY_IDENTITY: ModelIdentity = {
  id: 'toy/echo',
  model: digest('1'),
  tokenizer: digest('2'),
  operations: digest('3'),
  profile: digest('4'),
  profileName: 'float-same-isa',
  engine: digest('5'),
  contextLength: 4096,
  vocabularySize: 256,
};

/** What the toy answers. */
export function toyAnswer(request: CompletionRequest): Completion {
  const promptIds = [...utf8(JSON.stringify(request.messages))];
  if (promptIds.length > TOY_IDENTITY.contextLength) {
    throw new InferenceError('PROMPT_TOO_LONG', `the prompt has ${promptIds.length} tokens`);
  }
  const { choices, maxTokens, stop = [] } = request;
  const choice = choices?.[promptIds.length % choices.length];
  if (choice !== undefined) {
    return { promptIds, outputIds: [...utf8(choice)], text: choice, finishReason: 'choice', masks: digest('6') };
  }
  const masks = request.format === undefined && request.toolUse === undefined ? null : digest('6');
  let text = formed(request) ?? `echo: ${request.prompt ?? request.messages.at(-1)?.content ?? ''}`;
  for (const end of stop) if (text.includes(end)) text = text.slice(0, text.indexOf(end));
  const outputIds = [...utf8(text)];
  if (outputIds.length <= maxTokens) return { promptIds, outputIds, text, finishReason: 'stop', masks };
  return {
    promptIds,
    outputIds: outputIds.slice(0, maxTokens),
    text: text.slice(0, maxTokens),
    finishReason: 'length',
    masks,
  };
}

/** A call where one is required or the last message begins with `call `, an empty object where JSON is wanted. */
function formed({ messages, format, toolUse }: CompletionRequest): string | undefined {
  const asked = (messages.at(-1)?.content ?? '').startsWith('call ');
  const name = toolUse?.choice.type === 'function' ? toolUse.choice.name : toolUse?.tools[0]?.name;
  if (name !== undefined && (asked || toolUse?.choice.type !== 'auto')) {
    return `<tool_call>\n{"name": "${name}", "arguments": {"toy": 1}}\n</tool_call>`;
  }
  return format === undefined ? undefined : '{}';
}

/** Opens the toy. */
export function openToyEngine(
  identity: ModelIdentity = TOY_IDENTITY,
): CheckingEngine & { readonly seen: CompletionRequest[] } {
  const seen: CompletionRequest[] = [];
  return {
    identity,
    seen,
    async complete(request, signal, onDelta) {
      seen.push(request);
      const [command, argument = ''] = (request.messages.at(-1)?.content ?? '').split(' ');
      if (command === 'fail') throw new InferenceError(argument as InferenceErrorCode, 'as asked');
      if (command === 'bug') throw new TypeError('secret of the host');
      if (command === 'die') process.kill(process.pid, 'SIGKILL');
      if (command === 'show') onDelta?.({ text: 'echo: ', ids: [...utf8('echo: ')] });
      if (command === 'wait' || command === 'show' || command === 'hang' || command === 'die') {
        await new Promise<void>((_, reject) => {
          const cancel = () => reject(new InferenceError('CANCELLED', 'cancelled'));
          if (signal?.aborted) cancel();
          // `hang` is deaf to its signal, and at work.
          else if (command === 'hang') setInterval(() => {}, 1000);
          else signal?.addEventListener('abort', cancel, { once: true });
        });
      }
      const answer = toyAnswer(request);
      // Characters that are two UTF-16 units stay whole.
      for (const letter of answer.text) onDelta?.({ text: letter, ids: [...utf8(letter)] });
      return answer;
    },
    async embed(texts) {
      return { ids: texts.map((text) => [...utf8(text)]), vectors: texts.map((text) => [text.length > 0 ? 1 : 0, 0]) };
    },
    async check(request, claim, signal) {
      return alongClaim(await this.complete(request, signal), claim);
    },
    async close() {},
  };
}
