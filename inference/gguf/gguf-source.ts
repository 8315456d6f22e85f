/**
 * A GGUF file as the source of a model. Weights are read when they are asked for, by rows; nothing of them is kept.
 *
 * @module
 */

import { ModelError } from '../errors.ts';
import { hashFile } from '../file-digest.ts';
import { type ModelSource, tensorShape } from '../model-source.ts';
import { readTokenizer } from '../tokenizer-json.ts';
import { readDecoderConfig } from './gguf-config.ts';
import { ggufName } from './gguf-tensors.ts';
import { parseGguf } from './reader.ts';
import { openFileSource } from './source.ts';
import { TensorReader } from './tensor-reader.ts';

/**
 * Opens a file and checks everything but its weights, which may hold NaN and infinities. The caller closes it.
 *
 * @param path - GGUF file, untrusted
 * @throws {@link ModelError} with the reason why the file cannot be used
 */
export function openGgufSource(path: string): ModelSource {
  const source = openFileSource(path);
  try {
    const gguf = parseGguf(source);
    const config = readDecoderConfig(gguf, source);
    const tokenizer = readTokenizer(gguf);
    const reader = new TensorReader(source);
    // The texts of the metadata are not kept.
    const { tensors } = gguf;
    return {
      config,
      tokenizer,
      digest(onProgress = () => {}) {
        onProgress('hashing the model file');
        return hashFile(path);
      },
      readRows(place, first, count, out) {
        const name = ggufName(place);
        const shape = tensorShape(config, place.tensor);
        const tensor = tensors.get(name);
        if (shape === undefined || tensor === undefined) {
          throw new ModelError('MISSING_TENSOR', `the model has no tensor ${name}`, { at: { tensor: name } });
        }
        const [rows, columns] = shape;
        if (!Number.isInteger(first) || !Number.isInteger(count) || first < 0 || count < 0 || first + count > rows) {
          throw new RangeError(`rows ${first} to ${first + count} of ${rows} of ${name}`);
        }
        if (out.length < count * columns) throw new RangeError(`${count} rows of ${columns} into ${out.length} values`);
        reader.read(tensor, first * columns, out.subarray(0, count * columns));
      },
      close: () => source.close(),
    };
  } catch (fault) {
    source.close();
    // Of several models it says which one.
    if (fault instanceof ModelError && !fault.message.includes(path)) {
      throw new ModelError(fault.code, `${path}: ${fault.message}`, { at: fault.at, cause: fault });
    }
    throw fault;
  }
}
