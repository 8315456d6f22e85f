/**
 * The shape of a decoder of the LLaMA family, whatever file it comes from: RMSNorm, rotary positions, grouped-query
 * attention, SwiGLU; LLaMA, Qwen2 (biases of queries, keys and values) and Qwen3 (norms of queries and keys).
 *
 * @module
 */

/** Families whose files are read. */
export type DecoderFamily = 'llama' | 'qwen2' | 'qwen3';

/** Pairs of a rotated head: neighbours `(2i, 2i+1)`, or halves `(i, i + d/2)`. */
export type RotaryLayout = 'interleaved' | 'halves';

/** How the frequencies `base^(-2i/d)` are changed before they are used. */
export type RotaryScaling =
  | { readonly kind: 'none' }
  /** Every frequency divided by `factor`. */
  | { readonly kind: 'linear'; readonly factor: number }
  /** Llama 3: long wavelengths divided by `factor`, short ones kept, those between interpolated. */
  | {
      readonly kind: 'llama3';
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalContext: number;
    }
  /** Frequency `i` divided by `divisors[i]` (binary32 values, `headSize / 2` of them), as GGUF stores Llama 3's rule. */
  | { readonly kind: 'divisors'; readonly divisors: readonly number[] };

/** Shape of a decoder; all counts positive. */
export type DecoderConfig = {
  readonly family: DecoderFamily;
  readonly layers: number;
  /** Most positions of one sequence. */
  readonly contextLength: number;
  readonly embedding: number;
  readonly feedForward: number;
  readonly heads: number;
  /** Divides `heads`. */
  readonly kvHeads: number;
  /** Extent of one head; even, and all of it is rotated. `heads * headSize` need not be `embedding`. */
  readonly headSize: number;
  readonly rotaryLayout: RotaryLayout;
  /** A binary64 above 1. */
  readonly rotaryBase: number;
  readonly rotaryScaling: RotaryScaling;
  /** Used as the nearest binary32. */
  readonly normEpsilon: number;
  readonly vocabulary: number;
  /** Whether the output matrix is the embedding. */
  readonly tiedOutput: boolean;
  /** Whether queries, keys and values have a bias. */
  readonly attentionBias: boolean;
  /** Whether every head of queries and keys is normalised before it is rotated. */
  readonly headNorm: boolean;
};
