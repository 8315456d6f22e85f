/**
 * What a graph of the exact profile may hold: one product of small integers, whose result integer arithmetic fixes. Everything else
 * is refused before a runtime sees it, whoever made the graph.
 *
 * G1. One node, MatMulInteger of the default domain, without attributes: no float, no reduction but a sum of integers, no subgraph.
 * G2. Activations are the one graph input, uint8 `[M, K]` with M free; their zero point is the constant scalar 64, and callers store
 *     0..127. Pairs of u7 x s8 products stay below 2^15, so that vpmaddubsw (AVX2 without VNNI) does not saturate:
 *     127 * 128 + 127 * 128 = 32,512.
 * G3. Weights are a constant int8 `[K, N]` without a zero point of their own, inside the file, `raw_data` of exactly K * N bytes.
 * G4. K is at most {@link MOST_COLUMNS}: no sum, and no partial sum in any order, leaves int32.
 * G5. Nothing else may carry meaning: no function, quantisation annotation, training graph, sparse or external tensor, other operator
 *     set, unknown field or duplicate. Metadata properties are refused too: runtimes take session settings from them ("ort_config").
 *     Left are names, documentation and the producer.
 *
 * Sources: `onnx.proto3`, field numbers as of IR version 12; ONNX operators, "MatMulInteger-10".
 *
 * @module
 */

import { MOST_COLUMNS, PRODUCT_GRAPH, ZERO_POINT } from './product-graph.ts';
import { type FieldRule, type MessageRules, type Region, refuse, StrictMessage } from './strict-message.ts';

/** IR versions in which an initializer that is no input is a constant, and no field beyond the rules below exists. */
export const IR_RANGE = { least: 4, most: 10 } as const;

/** Versions of the default operator set in which MatMulInteger is what "MatMulInteger-10" says. */
export const OPSET_RANGE = { least: 10, most: 22 } as const;

/** A runtime reads no larger message. */
const MOST_BYTES = 2 ** 31 - 1;

/** Read so far that the first wrong one can be named. */
const MANY = 65_536;

const int = (name: string, most = 1): FieldRule => ({ name, wire: 'int', most });
const bytes = (name: string, most = 1): FieldRule => ({ name, wire: 'bytes', most });

const MODEL: MessageRules = {
  allowed: {
    1: int('ir_version'),
    2: bytes('producer_name'),
    3: bytes('producer_version'),
    4: bytes('domain'),
    5: int('model_version'),
    6: bytes('doc_string'),
    7: bytes('graph'),
    8: bytes('opset_import', MANY),
  },
  refused: { 14: 'metadata_props', 20: 'training_info', 25: 'functions', 26: 'configuration' },
};

const OPERATOR_SET: MessageRules = { allowed: { 1: bytes('domain'), 2: int('version') }, refused: {} };

const GRAPH: MessageRules = {
  allowed: {
    1: bytes('node', MANY),
    2: bytes('name'),
    5: bytes('initializer', MANY),
    10: bytes('doc_string'),
    11: bytes('input', MANY),
    12: bytes('output', MANY),
  },
  refused: { 13: 'value_info', 14: 'quantization_annotation', 15: 'sparse_initializer', 16: 'metadata_props' },
};

const NODE: MessageRules = {
  allowed: {
    1: bytes('input', MANY),
    2: bytes('output', MANY),
    3: bytes('name'),
    4: bytes('op_type'),
    5: bytes('attribute', MANY),
    6: bytes('doc_string'),
    7: bytes('domain'),
  },
  refused: { 8: 'overload', 9: 'metadata_props', 10: 'device_configurations' },
};

const TENSOR: MessageRules = {
  allowed: { 1: int('dims', 2), 2: int('data_type'), 8: bytes('name'), 9: bytes('raw_data'), 12: bytes('doc_string') },
  refused: {
    3: 'segment',
    4: 'float_data',
    5: 'int32_data',
    6: 'string_data',
    7: 'int64_data',
    10: 'double_data',
    11: 'uint64_data',
    13: 'external_data',
    14: 'data_location',
    16: 'metadata_props',
  },
};

const VALUE_INFO: MessageRules = {
  allowed: { 1: bytes('name'), 2: bytes('type'), 3: bytes('doc_string') },
  refused: { 4: 'metadata_props' },
};

const TYPE: MessageRules = {
  allowed: { 1: bytes('tensor_type') },
  refused: {
    4: 'sequence_type',
    5: 'map_type',
    6: 'denotation',
    7: 'opaque_type',
    8: 'sparse_tensor_type',
    9: 'optional_type',
  },
};

const TENSOR_TYPE: MessageRules = { allowed: { 1: int('elem_type'), 2: bytes('shape') }, refused: {} };

const SHAPE: MessageRules = { allowed: { 1: bytes('dim', 2) }, refused: {} };

const DIMENSION: MessageRules = {
  allowed: { 1: int('dim_value'), 2: bytes('dim_param') },
  refused: { 3: 'denotation' },
};

/**
 * Reads the graph and returns only if it is one product of the exact profile. Takes microseconds: weights are not looked at.
 *
 * @param model - ONNX `ModelProto`, untrusted
 * @throws {@link ModelError} `GRAPH_NOT_EXACT` with the place (`where`, and `node` or `offset` where there is one) and the reason
 */
export function lintExactGraph(model: Uint8Array): void {
  if (model.length > MOST_BYTES) refuse('model', `${model.length} bytes`);
  const top = new StrictMessage(model, { start: 0, end: model.length }, 'model', MODEL);
  const ir = top.int('ir_version');
  if (ir < IR_RANGE.least || ir > IR_RANGE.most) {
    top.fail(`expected ir_version ${IR_RANGE.least} to ${IR_RANGE.most}, got ${ir}`);
  }
  lintOperatorSets(model, top);
  lintGraph(model, top.region('graph'));
}

function lintOperatorSets(model: Uint8Array, top: StrictMessage): void {
  for (const region of top.regions('opset_import')) {
    const set = new StrictMessage(model, region, 'opset_import', OPERATOR_SET);
    if (!isDefaultDomain(set)) set.fail('only the default operator set is allowed');
    const version = set.int('version');
    if (version < OPSET_RANGE.least || version > OPSET_RANGE.most) {
      set.fail(`expected version ${OPSET_RANGE.least} to ${OPSET_RANGE.most}, got ${version}`);
    }
  }
  top.region('opset_import');
}

function lintGraph(model: Uint8Array, region: Region): void {
  const graph: StrictMessage = new StrictMessage(model, region, 'graph', GRAPH);
  const nodes = graph.regions('node').map((one, i) => lintNode(model, one, i));
  const [node] = nodes;
  if (node === undefined || nodes.length > 1) graph.fail(`expected one node, got ${nodes.length}`);
  const [activations, weightsName, zeroPointName] = node.inputs;
  if (new Set([...node.inputs, node.output]).size !== 4)
    graph.fail('expected four different values', { node: node.name });

  const initializers = graph.regions('initializer');
  if (initializers.length !== 2) graph.fail(`expected two initializers, got ${initializers.length}`);
  const tensors = new Map(
    initializers.map((one) => {
      const tensor = new StrictMessage(model, one, 'initializer', TENSOR);
      return [tensor.name('name'), tensor];
    }),
  );
  const [columns, rows] = lintWeights(tensors.get(weightsName) ?? graph.fail(`no initializer ${weightsName}`));
  lintZeroPoint(model, tensors.get(zeroPointName) ?? graph.fail(`no initializer ${zeroPointName}`));

  const { uint8, int32 } = PRODUCT_GRAPH;
  const input = lintMatrix(model, graph.region('input'), { where: 'input', name: activations, type: uint8, columns });
  const output = { where: 'output', name: node.output, type: int32, columns: rows };
  const free = lintMatrix(model, graph.region('output'), output);
  if (input !== free) graph.fail(`input of ${input} rows, output of ${free}`);
}

type Product = {
  /** For errors. */
  readonly name: string;
  readonly inputs: readonly [activations: string, weights: string, zeroPoint: string];
  readonly output: string;
};

function lintNode(model: Uint8Array, region: Region, index: number): Product {
  const node = new StrictMessage(model, region, `node ${index}`, NODE);
  const op = node.name('op_type');
  const name = node.names('name')[0] ?? op;
  const at = { node: name };
  if (!isDefaultDomain(node)) node.fail(`${op} of a domain other than the default`, at);
  if (op !== 'MatMulInteger') node.fail(`${op} is not allowed`, at);
  if (node.regions('attribute').length > 0) node.fail('attributes are not allowed', at);
  const count = node.regions('input').length;
  // The fourth input of the operation is a zero point of the weights; one that is called by the empty name counts too.
  if (count !== 3) node.fail(`expected three inputs, got ${count}`, at);
  return { name, inputs: node.names('input') as [string, string, string], output: node.name('output') };
}

function lintWeights(tensor: StrictMessage): readonly [columns: number, rows: number] {
  const type = tensor.int('data_type');
  if (type !== PRODUCT_GRAPH.int8) tensor.fail(`expected weights of int8, got element type ${type}`);
  const [columns, rows, ...more] = tensor.ints('dims');
  if (columns === undefined || rows === undefined || more.length > 0) tensor.fail('expected weights of two extents');
  if (columns < 1 || columns > MOST_COLUMNS) tensor.fail(`expected 1 to ${MOST_COLUMNS} columns, got ${columns}`);
  const { start, end } = tensor.region('raw_data');
  if (rows < 1 || columns * rows !== end - start) {
    tensor.fail(`expected raw_data of ${columns} x ${rows} bytes, got ${end - start}`);
  }
  return [columns, rows];
}

function lintZeroPoint(model: Uint8Array, tensor: StrictMessage): void {
  const type = tensor.int('data_type');
  if (type !== PRODUCT_GRAPH.uint8) tensor.fail(`expected a zero point of uint8, got element type ${type}`);
  // One extent would mean a zero point for each row.
  if (tensor.ints('dims').length !== 0) tensor.fail('expected a zero point without extents');
  const { start, end } = tensor.region('raw_data');
  const value = model[start];
  if (end - start !== 1 || value !== ZERO_POINT) tensor.fail(`expected the zero point ${ZERO_POINT}, got ${value}`);
}

/** Checks an input or output; the answer is the name of its free extent. */
function lintMatrix(model: Uint8Array, region: Region, expected: lintMatrix.Expected): string {
  const { where, name, type, columns } = expected;
  const info = new StrictMessage(model, region, where, VALUE_INFO);
  if (info.name('name') !== name) info.fail(`expected ${name}, got ${info.name('name')}`);
  const tensorType = new StrictMessage(model, info.region('type'), `${where}.type`, TYPE).region('tensor_type');
  const tensor = new StrictMessage(model, tensorType, `${where}.type.tensor_type`, TENSOR_TYPE);
  if (tensor.int('elem_type') !== type) {
    tensor.fail(`expected element type ${type}, got ${tensor.int('elem_type')}`);
  }
  const shape: StrictMessage = new StrictMessage(model, tensor.region('shape'), `${where}.shape`, SHAPE);
  const [first, second] = shape.regions('dim');
  if (first === undefined || second === undefined) shape.fail('expected two extents');
  const rowsExtent = new StrictMessage(model, first, `${where}.shape`, DIMENSION);
  if (rowsExtent.ints('dim_value').length > 0) rowsExtent.fail('expected a free number of rows');
  const extent: StrictMessage = new StrictMessage(model, second, `${where}.shape`, DIMENSION);
  if (extent.regions('dim_param').length > 0 || extent.int('dim_value') !== columns) {
    extent.fail(`expected ${columns} columns`);
  }
  return rowsExtent.name('dim_param');
}

declare namespace lintMatrix {
  type Expected = {
    readonly where: string;
    readonly name: string;
    readonly type: number;
    readonly columns: number;
  };
}

/** The default domain is the empty one; its other name is refused like any other. */
function isDefaultDomain(message: StrictMessage): boolean {
  return message.regions('domain').every(({ start, end }) => start === end);
}
