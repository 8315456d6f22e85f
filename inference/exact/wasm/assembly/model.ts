/**
 * What every kernel knows of the model and of its thread: extents, and where weights, tables and buffers lie. Read once from a block of
 * 32-bit words that the host wrote (`memory-plan.ts` names them).
 */

export let threads: i32 = 1;
export let thread: i32 = 0;

export let layers: i32 = 0;
export let embedding: i32 = 0;
export let feedForward: i32 = 0;
export let heads: i32 = 0;
export let kvHeads: i32 = 0;
export let headSize: i32 = 0;
export let vocabulary: i32 = 0;
export let keyMax: f32 = 0;
export let valueMax: f32 = 0;
export let epsilon: f32 = 0;
/** Binary32 nearest to 2048 / sqrt(headSize). */
export let scoreScale: f32 = 0;

export let queryLength: i32 = 0;
export let keyValueLength: i32 = 0;
/** `headSize` rounded up to 8: elements of a head in the cache. */
export let headStride: i32 = 0;
/** Floats from one row of a buffer to the next, multiples of 8. */
export let embeddingStride: i32 = 0;
export let feedForwardStride: i32 = 0;
export let queryStride: i32 = 0;
export let mixedStride: i32 = 0;
/** Columns of a row of weights, multiples of 32. */
export let embeddingColumns: i32 = 0;
export let feedForwardColumns: i32 = 0;
export let queryColumns: i32 = 0;
export let layerTable: usize = 0;
export let embeddingMatrix: usize = 0;
export let outputMatrix: usize = 0;
export let outputNorm: usize = 0;
export let expTable: usize = 0;
export let sigmoidTable: usize = 0;
export let cosTable: usize = 0;
export let sinTable: usize = 0;

/** Counters and barrier; see `threads.ts`. */
export let control: usize = 0;
/** Rows of the batch: token, position, cache, capacity, one array after the other. */
export let rowTokens: usize = 0;
export let rowPositions: usize = 0;
export let rowCaches: usize = 0;
export let rowCapacities: usize = 0;

/** Residual `[rows, embeddingStride]`. */
export let residual: usize = 0;
/** Query, key and value products `[rows, mixedStride]`. */
export let mixed: usize = 0;
/** Attention outputs `[rows, queryStride]`. */
export let attended: usize = 0;
/** `[rows, feedForwardStride]`. */
export let gates: usize = 0;
export let ups: usize = 0;
export let logits: usize = 0;
/** Quantised rows of the batch, in pairs, and their scales. */
export let sharedRows: usize = 0;
export let sharedScales: usize = 0;
/** Quantised rows as limbs, two rows of bytes each; see `limbs.ts`. */
export let limbRows: usize = 0;
/** Fewest rows whose products the host computes; 0 for none at all. */
export let hostRows: i32 = 0;

/** This thread's own: one quantised row, a row of floats, scores, attention weights, widened weights, sums of the host. */
export let ownRow: usize = 0;
export let ownFloats: usize = 0;
export let ownScores: usize = 0;
export let ownWeights: usize = 0;
export let ownPanel: usize = 0;
export let ownSums: usize = 0;

@inline function word(block: usize, index: i32): i32 {
  return load<i32>(block + (<usize>index << 2));
}

@inline function up(n: i32, step: i32): i32 {
  return (n + step - 1) & ~(step - 1);
}

/** Reads the block at `b`; words of the thread's own buffers begin at word 64 + 8 * `t`. */
export function configure(b: usize, t: i32, n: i32): void {
  thread = t;
  threads = n;
  layers = word(b, 0);
  embedding = word(b, 1);
  feedForward = word(b, 2);
  heads = word(b, 3);
  kvHeads = word(b, 4);
  headSize = word(b, 5);
  vocabulary = word(b, 6);
  keyMax = <f32>word(b, 7);
  valueMax = <f32>word(b, 8);
  epsilon = load<f32>(b + 36);
  scoreScale = load<f32>(b + 40);
  layerTable = word(b, 11);
  embeddingMatrix = word(b, 12);
  outputMatrix = word(b, 13);
  outputNorm = word(b, 14);
  expTable = word(b, 15);
  sigmoidTable = word(b, 16);
  cosTable = word(b, 17);
  sinTable = word(b, 18);
  control = word(b, 19);
  rowTokens = word(b, 20);
  rowPositions = word(b, 21);
  rowCaches = word(b, 22);
  rowCapacities = word(b, 23);
  residual = word(b, 24);
  mixed = word(b, 25);
  attended = word(b, 26);
  gates = word(b, 27);
  ups = word(b, 28);
  logits = word(b, 29);
  sharedRows = word(b, 30);
  sharedScales = word(b, 31);
  limbRows = word(b, 32);
  hostRows = word(b, 33);
  const own = b + 256 + (<usize>t << 5);
  ownRow = word(own, 0);
  ownFloats = word(own, 1);
  ownScores = word(own, 2);
  ownWeights = word(own, 3);
  ownPanel = word(own, 4);
  ownSums = word(own, 5);
  queryLength = heads * headSize;
  keyValueLength = kvHeads * headSize;
  headStride = up(headSize, 8);
  embeddingStride = up(embedding, 8);
  feedForwardStride = up(feedForward, 8);
  queryStride = up(queryLength, 8);
  mixedStride = up(queryLength + 2 * keyValueLength, 8);
  embeddingColumns = up(embedding, 32);
  feedForwardColumns = up(feedForward, 32);
  queryColumns = up(queryLength, 32);
}
