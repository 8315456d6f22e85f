/**
 * Checks a bundle away from the thread that draws.
 *
 * @module
 */

import { type BundleCheck, BundleChecker, type BundleFile } from '../bundle-check.ts';
import { readDetail } from '../record-detail.ts';
import { searchPayloads } from '../search.ts';
import type { Answer, Question } from './messages.ts';

/** What a worker has that is used here. */
type WorkerScope = {
  onmessage: ((event: { readonly data: Question }) => void) | null;
  postMessage(answer: Answer): void;
};

const scope = globalThis as unknown as WorkerScope;

let checker: BundleChecker | undefined;
let checked: Promise<BundleCheck> | undefined;
/** Number of the last search. */
let searches = 0;

scope.onmessage = ({ data }) => {
  answer(data).catch((error: unknown) => {
    scope.postMessage({ type: 'failed', message: error instanceof Error ? error.message : String(error) });
  });
};

async function answer(question: Question): Promise<void> {
  if (question.type === 'check') {
    checker = new BundleChecker(fileAt(question.url), () => performance.now());
    checked = checker.check((rows) => scope.postMessage({ type: 'rows', rows }));
    scope.postMessage({ type: 'checked', check: await checked });
    return;
  }
  if (question.type === 'search') searches += 1;
  const search = searches;
  const check = await checked;
  if (checker === undefined || check === undefined) throw new Error('a record before its bundle');
  if (question.type === 'search') {
    const { text } = question;
    if (text === '' || search !== searches) return;
    const found = await searchPayloads(checker.file, text, async () => {
      // Lets in the message that ends this search.
      await new Promise((next) => setTimeout(next));
      return search === searches;
    });
    if (found !== undefined) scope.postMessage({ type: 'found', text, found });
    return;
  }
  const { open } = check;
  const place =
    open === null
      ? undefined
      : { deployment: { chainId: BigInt(open.chain), contract: open.contract }, operator: open.operator };
  scope.postMessage({ type: 'detail', detail: await readDetail(checker, question.index, place) });
}

function fileAt(url: string): BundleFile {
  return {
    async *stream(from) {
      const response = await fetch(url, { headers: { range: `bytes=${from}-` } });
      // Nothing lies behind the end.
      if (response.status === 416) return;
      if (!response.ok || response.body === null) throw new Error(`the bundle cannot be read (${response.status})`);
      const reader = response.body.getReader();
      try {
        for (;;) {
          const { done, value } = await reader.read();
          if (done) return;
          yield value;
        }
      } finally {
        await reader.cancel();
      }
    },
    async range(from, to) {
      const response = await fetch(url, { headers: { range: `bytes=${from}-${to - 1}` } });
      if (response.status !== 206) throw new Error(`the record cannot be read again (${response.status})`);
      return new Uint8Array(await response.arrayBuffer());
    },
  };
}
