/**
 * A LLaMA-family decoder as an ONNX graph over binary32 weights: RMSNorm, rotary positions, grouped-query attention with
 * a key-value cache, SwiGLU, tied or separate output. Standard operations only.
 *
 * Inputs: `ids` and their `positions`, int64 `[s]`; for each layer `past_key_l` float32 `[kvHeads, headSize, c]` and
 * `past_value_l` `[kvHeads, c, headSize]`, of which the first `positions[0]` places are in use (the rest is masked, so a
 * buffer need not grow with each token). Outputs: `logits` float32 `[1, vocabulary]` of the last position only; `key_l`
 * `[kvHeads, headSize, s]` and `value_l` `[kvHeads, s, headSize]` of the new positions. The mask is made in the graph.
 *
 * Sources: "LLaMA" (arXiv 2302.13971) §2.2, "RoFormer" (2104.09864) §3.4.2, "GQA" (2305.13245); layouts as in llama.cpp.
 *
 * @module
 */

import type { DecoderConfig } from '../decoder-config.ts';
import { type ExternalWeight, GraphBuilder, type Value } from '../onnx/graph.ts';

/** Version of this construction; any change of the bytes that it makes needs a new one. */
export const FLOAT_GRAPH_VERSION = 'tracebond-float-graph/1';

/** Name of the weight file, beside the model file. */
export const WEIGHT_FILE = 'weights.bin';

/** Where the values of a weight come from: rows of these GGUF tensors one after the other, or a rotary table. */
export type WeightOrigin = { readonly tensors: readonly string[] } | { readonly rotary: 'cos' | 'sin' };

/** A graph whose weights have still to be written. */
export type LlamaGraph = {
  /** The ONNX `ModelProto`. */
  readonly model: Uint8Array;
  readonly weights: readonly (ExternalWeight & { readonly origin: WeightOrigin })[];
  readonly weightBytes: number;
};

/** Stands in for minus infinity: a masked score after softmax is zero or below 2^-126, and no NaN can arise. */
const MASKED = -3.4028234663852886e38;

/** Builds the graph; equal configurations give equal bytes. */
export function buildLlamaGraph(config: DecoderConfig): LlamaGraph {
  const builder = new GraphBuilder(WEIGHT_FILE);
  const origins = new Map<string, WeightOrigin>();
  const weight = (name: string, shape: readonly number[], origin: WeightOrigin) => {
    origins.set(name, origin);
    return builder.weight(name, shape);
  };
  new LlamaWriter(builder, weight, config).write();
  return {
    model: builder.encode('llama'),
    weights: builder.weights.map((entry) => ({ ...entry, origin: origins.get(entry.name) ?? { tensors: [] } })),
    weightBytes: builder.weightBytes,
  };
}

/**
 * Cosines and sines of all rotary angles: `[contextLength, headSize / 2]`, binary32 nearest to the binary64 that this
 * JavaScript engine computes. They are part of the operations digest, so that another engine's rounding is noticed.
 */
export function rotaryTable(config: DecoderConfig, kind: 'cos' | 'sin'): Float32Array {
  const half = config.headSize / 2;
  const table = new Float32Array(config.contextLength * half);
  const frequencies = Array.from({ length: half }, (_, i) => config.rotaryBase ** ((-2 * i) / config.headSize));
  const compute = kind === 'cos' ? Math.cos : Math.sin;
  for (let position = 0; position < config.contextLength; position++) {
    for (let i = 0; i < half; i++) table[position * half + i] = compute(position * (frequencies[i] as number));
  }
  return table;
}

type WeightMaker = (name: string, shape: readonly number[], origin: WeightOrigin) => Value;

/** Values that all layers share. */
type Shared = {
  readonly cos: Value;
  readonly sin: Value;
  readonly mask: Value;
  /** `[c, s]`: how a row of scores divides into cached and new keys. */
  readonly division: Value;
};

class LlamaWriter {
  readonly #builder: GraphBuilder;
  readonly #weight: WeightMaker;
  readonly #config: DecoderConfig;

  constructor(builder: GraphBuilder, weight: WeightMaker, config: DecoderConfig) {
    this.#builder = builder;
    this.#weight = weight;
    this.#config = config;
  }

  write(): void {
    const g = this.#builder;
    const { embedding, vocabulary, kvHeads, headSize, layers } = this.#config;
    const ids = g.input('ids', 'int64', ['s']);
    const positions = g.input('positions', 'int64', ['s']);
    const pasts = Array.from({ length: layers }, (_, l) => ({
      key: g.input(`past_key_${l}`, 'float32', [kvHeads, headSize, 'c']),
      value: g.input(`past_value_${l}`, 'float32', [kvHeads, 'c', headSize]),
    }));
    const table = this.#weight('token_embd', [vocabulary, embedding], { tensors: ['token_embd.weight'] });
    const shared = this.#positions(positions, pasts[0]?.key ?? ids);

    let x = g.node('Gather', [table, ids], { axis: 0 });
    pasts.forEach((past, layer) => {
      x = this.#layer(x, layer, past, shared);
    });

    const last = g.node('Slice', [x, g.ints([-1]), g.ints([Number.MAX_SAFE_INTEGER]), g.ints([0])]);
    const norm = this.#norm(last, 'output_norm', ['output_norm.weight']);
    const output = this.#config.tiedOutput
      ? table
      : this.#weight('output', [vocabulary, embedding], { tensors: ['output.weight'] });
    g.node('Gemm', [norm, output], { transB: 1 }, 'logits');
    g.output('logits', 'float32', [1, vocabulary]);
  }

  /** Rotary factors `[s, 1, headSize / 2, 1]` (or the last two extents swapped) and the mask `[group * s, c + s]`. */
  #positions(positions: Value, firstKey: Value): Shared {
    const g = this.#builder;
    const { contextLength, headSize, heads, kvHeads, rotaryLayout } = this.#config;
    const half = headSize / 2;
    const shape = g.ints(rotaryLayout === 'interleaved' ? [-1, 1, half, 1] : [-1, 1, 1, half]);
    const rows = (kind: 'cos' | 'sin') => {
      const table = this.#weight(`rotary_${kind}`, [contextLength, half], { rotary: kind });
      return g.node('Reshape', [g.node('Gather', [table, positions], { axis: 0 }), shape]);
    };
    const capacity = g.node('Slice', [g.node('Shape', [firstKey]), g.ints([2]), g.ints([3])]);
    const places = g.node('Range', [g.int(0), g.node('Squeeze', [capacity]), g.int(1)]);
    // A place that is not in use gets a position after every query.
    const used = g.node('Less', [places, g.node('Gather', [positions, g.int(0)])]);
    const cached = g.node('Where', [used, places, g.int(contextLength)]);
    const keys = g.node('Concat', [cached, positions], { axis: 0 });
    const queries = g.node('Reshape', [g.node('Tile', [positions, g.ints([heads / kvHeads])]), g.ints([-1, 1])]);
    const seen = g.node('LessOrEqual', [keys, queries]);
    return {
      cos: rows('cos'),
      sin: rows('sin'),
      mask: g.node('Where', [seen, g.float(0), g.float(MASKED)]),
      division: g.node('Concat', [capacity, g.node('Shape', [positions])], { axis: 0 }),
    };
  }

  #layer(x: Value, layer: number, past: { key: Value; value: Value }, shared: Shared): Value {
    const g = this.#builder;
    const attended = this.#attention(
      this.#norm(x, `norm1_${layer}`, [`blk.${layer}.attn_norm.weight`]),
      layer,
      past,
      shared,
    );
    const middle = g.node('Add', [x, attended]);
    const fed = this.#feedForward(this.#norm(middle, `norm2_${layer}`, [`blk.${layer}.ffn_norm.weight`]), layer);
    return g.node('Add', [middle, fed]);
  }

  /** x / sqrt(mean(x^2) + epsilon) * gain, over the last extent. */
  #norm(x: Value, name: string, tensors: readonly string[]): Value {
    const g = this.#builder;
    const gain = this.#weight(name, [this.#config.embedding], { tensors });
    const mean = g.node('ReduceMean', [g.node('Mul', [x, x]), g.ints([-1])], { keepdims: 1 });
    const root = g.node('Sqrt', [g.node('Add', [mean, g.float(this.#config.normEpsilon)])]);
    return g.node('Mul', [g.node('Div', [x, root]), gain]);
  }

  #attention(x: Value, layer: number, past: { key: Value; value: Value }, shared: Shared): Value {
    const g = this.#builder;
    const { heads, kvHeads, headSize, embedding, attentionBias } = this.#config;
    const group = heads / kvHeads;
    const rows = (heads + 2 * kvHeads) * headSize;
    const names = ['attn_q', 'attn_k', 'attn_v'].map((name) => `blk.${layer}.${name}`);
    const inputs = [
      x,
      this.#weight(`qkv_${layer}`, [rows, embedding], { tensors: names.map((name) => `${name}.weight`) }),
    ];
    if (attentionBias)
      inputs.push(this.#weight(`qkv_bias_${layer}`, [rows], { tensors: names.map((name) => `${name}.bias`) }));
    const projected = g.node('Reshape', [
      g.node('Gemm', inputs, { transB: 1 }),
      g.ints([-1, heads + 2 * kvHeads, headSize]),
    ]);
    const [turning, v] = g.split(projected, 1, [heads + kvHeads, kvHeads]) as [Value, Value];
    const [q, k] = g.split(this.#rotate(turning, shared), 1, [heads, kvHeads]) as [Value, Value];

    // Query heads of one group become rows of one product with their shared keys.
    const grouped = g.node('Transpose', [g.node('Reshape', [q, g.ints([-1, kvHeads, group, headSize])])], {
      perm: [1, 2, 0, 3],
    });
    const queries = g.node('Mul', [
      g.node('Reshape', [grouped, g.ints([kvHeads, -1, headSize])]),
      g.float(1 / Math.sqrt(headSize)),
    ]);
    const key = g.node('Transpose', [k], { perm: [1, 2, 0] }, `key_${layer}`);
    const value = g.node('Transpose', [v], { perm: [1, 0, 2] }, `value_${layer}`);
    g.output(key, 'float32', [kvHeads, headSize, 's']);
    g.output(value, 'float32', [kvHeads, 's', headSize]);
    const products = [g.node('MatMul', [queries, past.key]), g.node('MatMul', [queries, key])];
    const scores = g.node('Add', [g.node('Concat', products, { axis: 2 }), shared.mask]);
    const [old, recent] = g.split(g.node('Softmax', [scores], { axis: -1 }), 2, shared.division, 2) as [Value, Value];
    const mixed = g.node('Add', [g.node('MatMul', [old, past.value]), g.node('MatMul', [recent, value])]);

    const apart = g.node('Transpose', [g.node('Reshape', [mixed, g.ints([kvHeads, group, -1, headSize])])], {
      perm: [2, 0, 1, 3],
    });
    const output = this.#weight(`attn_output_${layer}`, [embedding, heads * headSize], {
      tensors: [`blk.${layer}.attn_output.weight`],
    });
    return g.node('Gemm', [g.node('Reshape', [apart, g.ints([-1, heads * headSize])]), output], { transB: 1 });
  }

  /** Rotary positions over `[s, n, headSize]`, in the layout of the architecture. */
  #rotate(x: Value, { cos, sin }: Shared): Value {
    const g = this.#builder;
    const { heads, kvHeads, headSize, rotaryLayout } = this.#config;
    const n = heads + kvHeads;
    const half = headSize / 2;
    const axis = rotaryLayout === 'interleaved' ? 3 : 2;
    const pairs = g.node('Reshape', [x, g.ints(rotaryLayout === 'interleaved' ? [-1, n, half, 2] : [-1, n, 2, half])]);
    const [a, b] = g.split(pairs, axis, [1, 1]) as [Value, Value];
    const first = g.node('Sub', [g.node('Mul', [a, cos]), g.node('Mul', [b, sin])]);
    const second = g.node('Add', [g.node('Mul', [a, sin]), g.node('Mul', [b, cos])]);
    return g.node('Reshape', [g.node('Concat', [first, second], { axis }), g.ints([-1, n, headSize])]);
  }

  /** down(silu(gate(x)) * up(x)). */
  #feedForward(x: Value, layer: number): Value {
    const g = this.#builder;
    const { embedding, feedForward } = this.#config;
    const tensors = [`blk.${layer}.ffn_gate.weight`, `blk.${layer}.ffn_up.weight`];
    const both = g.node('Gemm', [x, this.#weight(`ffn_in_${layer}`, [2 * feedForward, embedding], { tensors })], {
      transB: 1,
    });
    const [gate, up] = g.split(both, 1, [feedForward, feedForward]) as [Value, Value];
    const active = g.node('Mul', [g.node('Mul', [gate, g.node('Sigmoid', [gate])]), up]);
    const down = this.#weight(`ffn_out_${layer}`, [embedding, feedForward], {
      tensors: [`blk.${layer}.ffn_down.weight`],
    });
    return g.node('Gemm', [active, down], { transB: 1 });
  }
}
