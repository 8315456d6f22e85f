import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { exactModelFrom } from '../../../inference/exact/exact-file.ts';
import { openReference } from '../../../inference/exact/reference/reference-decoder.ts';
import { openGgufSource } from '../../../inference/gguf/gguf-source.ts';
import { openTokenizer } from '../../../inference/tokenizer.ts';
import { writeGguf } from '../../support/gguf-writer.ts';
import { readStories } from '../../support/stories.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { describeVectors } from '../../support/vectors.ts';

describeVectors('model-stories260k', (folder) => {
  const stories = readStories(readFileSync(join(folder, 'stories260K.bin')), readFileSync(join(folder, 'tok512.bin')));
  const text = readFileSync(join(folder, 'golden-greedy-256.txt'), 'utf8');
  const convert = () => {
    const path = join(temporaryFolder(), 'stories260k.gguf');
    writeFileSync(path, writeGguf(stories.fields, stories.tensors));
    const source = openGgufSource(path);
    const decoder = openReference(exactModelFrom(source));
    const golden = openTokenizer(source.tokenizer).encodeText(text);
    source.close();
    return { decoder, golden };
  };

  it('leaves the published greedy text of binary32 at its 236th token, and nowhere else if it is held to it', async () => {
    const { decoder, golden } = convert();
    const { vocabulary } = decoder.shape;
    expect(golden.length).toBe(256);

    const free = decoder.openSequence(256);
    const ids: number[] = [];
    for (let token = 1; ids.length < 256; ) {
      token = greedy(decoder.forward([{ sequence: free, token }], [0]));
      ids.push(token);
    }
    expect(ids.findIndex((id, i) => id !== golden[i])).toBe(235);

    const sequence = decoder.openSequence(256);
    const rows = [1, ...golden.slice(0, -1)].map((token) => ({ sequence, token }));
    const logits = decoder.forward(rows, [...rows.keys()]);
    const others = golden.flatMap((id, i) =>
      greedy(logits.subarray(i * vocabulary, (i + 1) * vocabulary)) === id ? [] : [i],
    );
    expect(others).toEqual([235]);
    const at = logits.subarray(235 * vocabulary, 236 * vocabulary);
    const [chosen, published] = [at[ids[235] ?? 0] ?? 0, at[golden[235] ?? 0] ?? 0];
    expect(chosen - published).toBe(0.07221031188964844);
    await decoder.close();
  });
});

/** The largest, ties to the lowest id. */
function greedy(logits: Float32Array): number {
  return logits.indexOf(logits.reduce((a, b) => Math.max(a, b)));
}
