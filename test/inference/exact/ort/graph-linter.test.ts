import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ModelError } from '../../../../inference/errors.ts';
import { lintExactGraph } from '../../../../inference/exact/ort/graph-linter.ts';
import { MOST_COLUMNS, productGraph } from '../../../../inference/exact/ort/product-graph.ts';
import { ProtobufWriter } from '../../../../inference/onnx/protobuf.ts';
import { writeGguf } from '../../../support/gguf-writer.ts';
import { graphSource } from '../../../support/open-graph.ts';
import { openOrtProducts } from '../../../support/ort-products.ts';
import { plainProduct } from '../../../support/plain-product.ts';
import {
  GOOD,
  type GraphParts,
  looseFields,
  looseProduct,
  matrixInfo,
  node,
  tensor,
  writeProductGraph,
} from '../../../support/product-graphs.ts';
import { tinyModel } from '../../../support/tiny-model.ts';

const { columns, rows, weights } = GOOD;
const good = writeProductGraph();
const empty = new Uint8Array(0);
const text = (value: string) => new TextEncoder().encode(value);

/** The refusal, or undefined if there is none. */
function refusalOf(graph: Uint8Array): ModelError | undefined {
  try {
    lintExactGraph(graph);
    return undefined;
  } catch (error) {
    if (error instanceof ModelError && error.code === 'GRAPH_NOT_EXACT') return error;
    throw error;
  }
}

describe('accepts', () => {
  it('the graph of productGraph, written by two hands', () => {
    expect(refusalOf(good)).toBeUndefined();
    expect(refusalOf(productGraph(columns, rows, weights))).toBeUndefined();
  });

  it.each<[string, GraphParts]>([
    [
      'documentation and the producer',
      {
        model: (w) => w.string(2, 'x').string(3, '1').string(4, 'here').int(5, 3).string(6, 'words'),
        graph: (w) => w.string(10, 'words'),
        node: (w) => w.string(6, 'words').string(7, ''),
      },
    ],
    [
      'other names',
      {
        inputs: ['x', 'W', 'zero'],
        activations: matrixInfo('x', 2, columns),
        weights: tensor('W', 3, [columns, rows], weights),
        zeroPoint: tensor('zero', 2, [], [64]),
      },
    ],
    [
      'another name of the free extent',
      { activations: matrixInfo('a', 2, columns, 'n'), sums: matrixInfo('y', 6, rows, 'n') },
    ],
    ['the oldest versions', { ir: (w) => w.int(1, 4), opsets: (w) => w.message(8, (set) => set.int(2, 10)) }],
    ['the newest versions', { ir: (w) => w.int(1, 10), opsets: (w) => w.message(8, (set) => set.int(2, 22)) }],
  ])('%s', (_, parts) => {
    const graph = writeProductGraph(parts);
    expect(refusalOf(graph)).toBeUndefined();
    expect(resultOf(graph)).toEqual(expectedOf(graph));
  });

  it('fields in another order', () => {
    const graph = new ProtobufWriter();
    for (const [number, values] of [...looseFields(good)].reverse()) {
      for (const value of values) typeof value === 'bigint' ? graph.int(number, value) : graph.bytes(number, value);
    }
    const turned = graph.finish();
    expect(turned).not.toEqual(good);
    expect(refusalOf(turned)).toBeUndefined();
  });
});

describe('refuses', () => {
  it.each<[string, GraphParts, RegExp]>([
    // operations
    ['Softmax', { op: 'Softmax', inputs: ['a'] }, /node 0: Softmax is not allowed/],
    ['a float product', { op: 'MatMul', inputs: ['a', 'w'] }, /MatMul is not allowed/],
    ['ConvInteger', { op: 'ConvInteger' }, /ConvInteger is not allowed/],
    [
      'MatMulIntegerToFloat of com.microsoft',
      { op: 'MatMulIntegerToFloat', node: (w) => w.string(7, 'com.microsoft') },
      /MatMulIntegerToFloat of a domain other/,
    ],
    [
      'MatMulInteger of com.microsoft',
      { node: (w) => w.string(7, 'com.microsoft') },
      /MatMulInteger of a domain other/,
    ],
    ['MatMulInteger of ai.onnx.ml', { node: (w) => w.string(7, 'ai.onnx.ml') }, /of a domain other/],
    ['the default domain by its other name', { node: (w) => w.string(7, 'ai.onnx') }, /of a domain other/],
    [
      'a node behind the product',
      { nodes: (w) => w.message(1, node('MatMulInteger', ['a', 'w', 'z'], 'x')).message(1, node('Relu', ['x'], 'y')) },
      /node 1: Relu is not allowed/,
    ],
    [
      'two products',
      {
        nodes: (w) =>
          w
            .message(1, node('MatMulInteger', ['a', 'w', 'z'], 'x'))
            .message(1, node('MatMulInteger', ['a', 'w', 'z'], 'y')),
      },
      /expected one node, got 2/,
    ],
    ['no node', { nodes: () => {} }, /expected one node, got 0/],
    ['an empty node', { nodes: (w) => w.bytes(1, empty) }, /expected one op_type, got 0/],
    [
      'an integer attribute',
      { node: (w) => w.message(5, (a) => a.string(1, 'axis').int(3, 1).int(20, 2)) },
      /attributes/,
    ],
    ['a subgraph', { node: (w) => w.message(5, (a) => a.string(1, 'body').bytes(6, empty).int(20, 5)) }, /attributes/],
    [
      'If with a subgraph',
      {
        op: 'If',
        inputs: ['a'],
        node: (w) => w.message(5, (a) => a.string(1, 'then_branch').bytes(6, empty).int(20, 5)),
      },
      /If is not allowed/,
    ],
    ['an overload', { node: (w) => w.string(8, 'other') }, /overload is not allowed/],
    ['properties of the node', { node: (w) => w.message(9, (p) => p.string(1, 'k').string(2, 'v')) }, /metadata_props/],
    ['a device of the node', { node: (w) => w.bytes(10, empty) }, /device_configurations/],
    ['a second output', { node: (w) => w.string(2, 'y2') }, /expected one output, got 2/],
    ['two names', { node: (w) => w.string(3, 'again') }, /more than 1 name/],
    ['two operators', { node: (w) => w.string(4, 'Softmax') }, /more than 1 op_type/],
    ['two domains', { node: (w) => w.string(7, '').string(7, 'com.microsoft') }, /more than 1 domain/],
    // operands
    ['no zero point', { inputs: ['a', 'w'] }, /expected three inputs, got 2/],
    ['a zero point left out', { inputs: ['a', 'w', ''] }, /input of 0 bytes/],
    [
      'a zero point of the weights',
      { inputs: ['a', 'w', 'z', 'zw'], tensors: (w) => w.message(5, tensor('zw', 3, [], [1])) },
      /expected three inputs, got 4/,
    ],
    ['a zero point of the weights, left out', { inputs: ['a', 'w', 'z', ''] }, /expected three inputs, got 4/],
    ['the activations twice', { inputs: ['a', 'a', 'z'] }, /four different values/],
    ['the output as an input', { inputs: ['y', 'w', 'z'] }, /four different values/],
    ['operands in another order', { inputs: ['w', 'a', 'z'] }, /no initializer a/],
    ['weights and zero point exchanged', { inputs: ['a', 'z', 'w'] }, /expected weights of int8/],
    ['a name with a space', { inputs: ['a', 'w', 'z z'] }, /input with the byte 32/],
    ['a name with a NUL', { inputs: ['a', 'w', 'z\0'] }, /input with the byte 0/],
    ['a name beyond ASCII', { inputs: ['a', 'w', 'ż'] }, /input with the byte/],
    ['a long name', { inputs: ['a', 'w', 'z'.repeat(257)] }, /input of 257 bytes/],
    // weights
    [
      'weights of uint8',
      { weights: tensor('w', 2, [columns, rows], weights) },
      /expected weights of int8, got element type 2/,
    ],
    ['weights of float', { weights: tensor('w', 1, [columns, rows], new Uint8Array(96)) }, /got element type 1/],
    [
      'weights of no type',
      { weights: (w) => w.int(1, columns).int(1, rows).string(8, 'w').bytes(9, Uint8Array.from(weights)) },
      /expected one data_type, got 0/,
    ],
    ['a vector', { weights: tensor('w', 3, [24], weights) }, /two extents/],
    ['a stack of matrices', { weights: tensor('w', 3, [1, columns, rows], weights) }, /more than 2 dims/],
    [
      'a byte too few',
      { weights: tensor('w', 3, [columns, rows], weights.subarray(1)) },
      /expected raw_data of 8 x 3 bytes, got 23/,
    ],
    ['a byte too many', { weights: tensor('w', 3, [columns, rows], [...weights, 1]) }, /got 25/],
    ['extents whose product wraps', { weights: tensor('w', 3, [columns, 2 ** 61 + 3], weights) }, /2\^53/],
    ['a negative extent', { weights: tensor('w', 3, [-columns, -rows], weights) }, /2\^53/],
    ['no columns', { weights: tensor('w', 3, [0, rows], []) }, /columns, got 0/],
    ['no rows', { weights: tensor('w', 3, [columns, 0], []), sums: matrixInfo('y', 6, 0) }, /raw_data of 8 x 0/],
    [
      'too many columns',
      { weights: tensor('w', 3, [MOST_COLUMNS + 1, 1], new Uint8Array(MOST_COLUMNS + 1)) },
      /columns, got 29357/,
    ],
    [
      'packed extents',
      {
        weights: (w) =>
          w.bytes(1, Uint8Array.of(columns, rows)).int(2, 3).string(8, 'w').bytes(9, Uint8Array.from(weights)),
      },
      /dims is written as a length/,
    ],
    [
      'no values',
      { weights: (w) => w.int(1, columns).int(1, rows).int(2, 3).string(8, 'w') },
      /expected one raw_data, got 0/,
    ],
    [
      'values as int32',
      { weights: (w) => w.int(1, columns).int(1, rows).int(2, 3).string(8, 'w').bytes(5, Uint8Array.from(weights)) },
      /int32_data is not allowed/,
    ],
    [
      'values twice',
      {
        weights: (w) => {
          tensor('w', 3, [columns, rows], weights)(w);
          w.bytes(9, Uint8Array.from(weights));
        },
      },
      /more than 1 raw_data/,
    ],
    [
      'values in another file',
      {
        weights: (w) => {
          tensor('w', 3, [columns, rows], weights)(w);
          w.message(13, (e) => e.string(1, 'location').string(2, 'w.bin')).int(14, 1);
        },
      },
      /external_data is not allowed/,
    ],
    [
      'a place of the values',
      {
        weights: (w) => {
          tensor('w', 3, [columns, rows], weights)(w);
          w.int(14, 0);
        },
      },
      /data_location is not allowed/,
    ],
    [
      'a segment',
      {
        weights: (w) => {
          tensor('w', 3, [columns, rows], weights)(w);
          w.bytes(3, empty);
        },
      },
      /segment is not allowed/,
    ],
    // zero point
    ['the zero point 0', { zeroPoint: tensor('z', 2, [], [0]) }, /expected the zero point 64, got 0/],
    ['the zero point 63', { zeroPoint: tensor('z', 2, [], [63]) }, /got 63/],
    ['the zero point 128', { zeroPoint: tensor('z', 2, [], [128]) }, /got 128/],
    ['an empty zero point', { zeroPoint: tensor('z', 2, [], []) }, /expected the zero point 64/],
    ['a zero point of two bytes', { zeroPoint: tensor('z', 2, [], [64, 64]) }, /expected the zero point 64/],
    ['a zero point for each row', { zeroPoint: tensor('z', 2, [3], [64, 64, 64]) }, /without extents/],
    ['a zero point for each of one row', { zeroPoint: tensor('z', 2, [1], [64]) }, /without extents/],
    ['a zero point of int8', { zeroPoint: tensor('z', 3, [], [64]) }, /zero point of uint8, got element type 3/],
    [
      'a zero point as int32_data',
      { zeroPoint: (w) => w.int(2, 2).string(8, 'z').int(5, 64) },
      /int32_data is not allowed/,
    ],
    [
      'a zero point that is an input',
      { zeroPoint: tensor('other', 2, [], [64]), graph: (w) => w.message(11, matrixInfo('z', 2, 1)) },
      /no initializer z/,
    ],
    // initializers
    [
      'a further initializer',
      { tensors: (w) => w.message(5, tensor('x', 3, [1], [1])) },
      /expected two initializers, got 3/,
    ],
    [
      'two initializers of one name',
      { zeroPoint: tensor('w', 2, [], [64]) },
      /expected weights of int8|no initializer z/,
    ],
    [
      'a constant that is the activations',
      { weights: tensor('a', 3, [columns, rows], weights), inputs: ['a', 'a', 'z'] },
      /four different/,
    ],
    ['a sparse initializer', { graph: (w) => w.bytes(15, empty) }, /sparse_initializer is not allowed/],
    [
      'weights that a caller can replace',
      { graph: (w) => w.message(11, matrixInfo('w', 3, rows, columns)) },
      /expected one input, got 2/,
    ],
    // inputs and outputs
    ['activations of int8', { activations: matrixInfo('a', 3, columns) }, /input.*expected element type 2, got 3/],
    ['activations of float', { activations: matrixInfo('a', 1, columns) }, /expected element type 2, got 1/],
    ['sums of float', { sums: matrixInfo('y', 1, rows) }, /output.*expected element type 6, got 1/],
    ['an input of another name', { activations: matrixInfo('b', 2, columns) }, /expected a, got b/],
    ['an output of another name', { sums: matrixInfo('w', 6, rows) }, /expected y, got w/],
    ['another number of columns', { activations: matrixInfo('a', 2, columns + 1) }, /expected 8 columns/],
    ['another number of outputs', { sums: matrixInfo('y', 6, rows + 1) }, /expected 3 columns/],
    ['a fixed number of rows', { activations: matrixInfo('a', 2, columns, 4) }, /free number of rows/],
    ['an output of fixed rows', { sums: matrixInfo('y', 6, rows, 4) }, /free number of rows/],
    ['rows that are not those of the input', { sums: matrixInfo('y', 6, rows, 'N') }, /input of M rows, output of N/],
    [
      'free columns',
      {
        activations: (w) =>
          w
            .string(1, 'a')
            .message(2, (t) =>
              t.message(1, (x) =>
                x
                  .int(1, 2)
                  .message(2, (s) => s.message(1, (d) => d.string(2, 'M')).message(1, (d) => d.string(2, 'K'))),
              ),
            ),
      },
      /expected 8 columns/,
    ],
    [
      'columns both fixed and free',
      {
        activations: (w) =>
          w
            .string(1, 'a')
            .message(2, (t) =>
              t.message(1, (x) =>
                x
                  .int(1, 2)
                  .message(2, (s) =>
                    s.message(1, (d) => d.string(2, 'M')).message(1, (d) => d.int(1, columns).string(2, 'K')),
                  ),
              ),
            ),
      },
      /expected 8 columns/,
    ],
    [
      'an input of one extent',
      {
        activations: (w) =>
          w
            .string(1, 'a')
            .message(2, (t) =>
              t.message(1, (x) => x.int(1, 2).message(2, (s) => s.message(1, (d) => d.string(2, 'M')))),
            ),
      },
      /expected two extents/,
    ],
    [
      'an input of three extents',
      {
        activations: (w) =>
          w.string(1, 'a').message(2, (t) =>
            t.message(1, (x) =>
              x.int(1, 2).message(2, (s) =>
                s
                  .message(1, (d) => d.string(2, 'B'))
                  .message(1, (d) => d.string(2, 'M'))
                  .message(1, (d) => d.int(1, columns)),
              ),
            ),
          ),
      },
      /more than 2 dim/,
    ],
    [
      'an input without a shape',
      { activations: (w) => w.string(1, 'a').message(2, (t) => t.message(1, (x) => x.int(1, 2))) },
      /expected one shape, got 0/,
    ],
    ['an input without a type', { activations: (w) => w.string(1, 'a') }, /expected one type, got 0/],
    [
      'a sequence',
      { activations: (w) => w.string(1, 'a').message(2, (t) => t.bytes(4, empty)) },
      /sequence_type is not allowed/,
    ],
    ['no input', { activations: () => {} }, /expected one name, got 0/],
    ['two outputs', { graph: (w) => w.message(12, matrixInfo('a', 2, columns)) }, /expected one output, got 2/],
    // the rest of the graph
    ['shapes of inner values', { graph: (w) => w.message(13, matrixInfo('x', 6, rows)) }, /value_info is not allowed/],
    ['a quantisation annotation', { graph: (w) => w.bytes(14, empty) }, /quantization_annotation is not allowed/],
    ['properties of the graph', { graph: (w) => w.bytes(16, empty) }, /metadata_props is not allowed/],
    ['an unknown field of the graph', { graph: (w) => w.int(99, 1) }, /graph: unknown field 99/],
    ['two names of the graph', { graph: (w) => w.string(2, 'again') }, /more than 1 name/],
    // the model
    ['a second graph', { model: (w) => w.bytes(7, empty) }, /more than 1 graph/],
    ['a function', { model: (w) => w.bytes(25, empty) }, /functions is not allowed/],
    ['a training graph', { model: (w) => w.bytes(20, empty) }, /training_info is not allowed/],
    ['devices', { model: (w) => w.bytes(26, empty) }, /configuration is not allowed/],
    [
      'session settings',
      { model: (w) => w.message(14, (p) => p.string(1, 'ort_config').string(2, '{}')) },
      /metadata_props is not allowed/,
    ],
    ['an unknown field', { model: (w) => w.int(1000, 1) }, /unknown field 1000/],
    ['field 0', { model: (w) => w.int(0, 1) }, /unknown field 0/],
    ['no version of the format', { ir: () => {} }, /expected one ir_version, got 0/],
    ['two versions of the format', { model: (w) => w.int(1, 8) }, /more than 1 ir_version/],
    ['a format in which initializers are inputs', { ir: (w) => w.int(1, 3) }, /ir_version 4 to 10, got 3/],
    ['a format of the future', { ir: (w) => w.int(1, 14) }, /got 14/],
    ['a format as text', { ir: (w) => w.string(1, '8') }, /ir_version is written as a length/],
    ['a format as binary32', { ir: (w) => w.float(1, 8) }, /ir_version is written as 32 bits/],
    // operator sets
    ['no operator set', { opsets: () => {} }, /expected one opset_import, got 0/],
    [
      'com.microsoft only',
      { opsets: (w) => w.message(8, (s) => s.string(1, 'com.microsoft').int(2, 1)) },
      /only the default operator set/,
    ],
    [
      'com.microsoft as well',
      { model: (w) => w.message(8, (s) => s.string(1, 'com.microsoft').int(2, 1)) },
      /only the default operator set/,
    ],
    ['the default set twice', { model: (w) => w.message(8, (s) => s.int(2, 17)) }, /expected one opset_import, got 2/],
    ['a set without MatMulInteger', { opsets: (w) => w.message(8, (s) => s.int(2, 9)) }, /version 10 to 22, got 9/],
    ['a set of the future', { opsets: (w) => w.message(8, (s) => s.int(2, 23)) }, /got 23/],
    ['a set of no version', { opsets: (w) => w.message(8, (s) => s.string(1, '')) }, /expected one version, got 0/],
  ])('%s', (_, parts, reason) => {
    expect(refusalOf(writeProductGraph(parts))?.message).toMatch(reason);
  });

  it('says which node and where', () => {
    const softmax = refusalOf(writeProductGraph({ op: 'Softmax', inputs: ['a'] }));
    expect(softmax?.at).toEqual({ where: 'node 0', node: 'product' });
    const unknown = refusalOf(writeProductGraph({ model: (w) => w.int(1000, 1) }));
    expect(unknown?.at).toEqual({ where: 'model', offset: good.length });
  });

  it('the graph of the float profile', () => {
    const { fields, tensors } = tinyModel();
    const { graph } = graphSource(writeGguf(fields, tensors));
    expect(refusalOf(graph.model)?.message).toMatch(/node 0: \w+ is not allowed/);
  });

  it.each<[string, Uint8Array, RegExp]>([
    ['nothing', empty, /expected one ir_version/],
    ['text', text('this is no graph'), /./],
    ['a number that never ends', Uint8Array.of(8, ...new Uint8Array(20).fill(0x80)), /2\^53/],
    ['a number of eleven bytes', Uint8Array.of(8, ...new Uint8Array(10).fill(0xff), 1), /2\^53/],
    ['a number longer than it has to be', Uint8Array.of(8, 0x88, 0), /longer than it has to be/],
    ['a tag longer than it has to be', Uint8Array.of(0x88, 0, 8), /longer than it has to be/],
    ['a length beyond the end', Uint8Array.of(0x3a, 5, 1), /graph is cut off/],
    ['a huge length', Uint8Array.of(0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x07), /graph is cut off/],
    ['a group', Uint8Array.of(0x3b, 0x3c), /graph is written as a group/],
  ])('%s', (_, bytes, reason) => {
    expect(refusalOf(bytes)?.message).toMatch(reason);
  });

  it('the good graph cut off anywhere, and with anything behind it', () => {
    for (let length = 0; length < good.length; length++)
      expect(refusalOf(good.subarray(0, length))?.code).toBe('GRAPH_NOT_EXACT');
    for (let byte = 0; byte < 256; byte++)
      expect(refusalOf(Uint8Array.of(...good, byte))?.code).toBe('GRAPH_NOT_EXACT');
  });

  it('the good graph twice over: a lenient reader merges the two', () => {
    expect(refusalOf(Uint8Array.of(...good, ...good))?.message).toMatch(/more than 1 ir_version/);
  });

  it('a million nodes, initializers or operator sets without keeping them', () => {
    for (const field of [0x0a, 0x2a]) {
      const graph = new Uint8Array(2_000_000);
      for (let i = 0; i < graph.length; i += 2) graph[i] = field;
      const bytes = new ProtobufWriter()
        .int(1, 8)
        .bytes(7, graph)
        .message(8, (s) => s.int(2, 17))
        .finish();
      expect(refusalOf(bytes)?.message).toMatch(/more than 65536/);
    }
  });
});

it('a large graph is checked without its weights being read', () => {
  const graph = productGraph(2048, 1024, new Int8Array(2048 * 1024));
  const times = Array.from({ length: 20 }, () => {
    const start = performance.now();
    lintExactGraph(graph);
    return performance.now() - start;
  });
  expect(Math.min(...times)).toBeLessThan(1);
});

describe('mutations', () => {
  // What is left to change is: weights, names and documentation. Then the runtime must still compute what another reader reads.
  const base = writeProductGraph({ model: (w) => w.string(6, 'words') });
  const place = fc.nat(base.length - 1);
  const change = fc.oneof(
    fc.record({ kind: fc.constant('set' as const), place, bytes: fc.uint8Array({ minLength: 1, maxLength: 3 }) }),
    fc.record({ kind: fc.constant('insert' as const), place, bytes: fc.uint8Array({ minLength: 1, maxLength: 12 }) }),
    fc.record({ kind: fc.constant('remove' as const), place, bytes: fc.uint8Array({ minLength: 1, maxLength: 12 }) }),
    fc.record({ kind: fc.constant('copy' as const), place, bytes: fc.uint8Array({ minLength: 2, maxLength: 2 }) }),
  );

  type Change = { kind: 'set' | 'insert' | 'remove' | 'copy'; place: number; bytes: Uint8Array };

  function apply(bytes: Uint8Array, { kind, place, bytes: value }: Change): Uint8Array {
    const at = Math.min(place, bytes.length);
    const [from = 0, length = 0] = value;
    const middle = kind === 'remove' ? empty : kind === 'copy' ? bytes.subarray(from, from + (length % 40)) : value;
    const skipped = kind === 'set' || kind === 'remove' ? value.length : 0;
    return Uint8Array.of(...bytes.subarray(0, at), ...middle, ...bytes.subarray(at + skipped));
  }

  it('never crash, and what is accepted computes what another reader reads', () => {
    let accepted = 0;
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
        const graph = changes.reduce(apply, base);
        if (refusalOf(graph) !== undefined) return;
        accepted += 1;
        expect(resultOf(graph)).toEqual(expectedOf(graph));
      }),
      { numRuns: 5000 },
    );
    expect(accepted).toBeGreaterThan(100);
  }, 30_000);

  it('one bit anywhere: accepted in weights, names and documentation alone', () => {
    const accepted: number[] = [];
    for (let bit = 0; bit < 8 * base.length; bit++) {
      const graph = base.slice();
      graph[bit >> 3] = (graph[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      if (refusalOf(graph) === undefined) accepted.push(bit >> 3);
    }
    const weightsAt = Buffer.from(base).indexOf(new Uint8Array(weights.buffer));
    const nodeName = Buffer.from(base).indexOf('product');
    const graphName = Buffer.from(base).lastIndexOf('product');
    const words = Buffer.from(base).indexOf('words');
    const inside = (byte: number, from: number, length: number) => byte >= from && byte < from + length;
    expect(accepted.filter((byte) => inside(byte, weightsAt, weights.length))).toHaveLength(8 * weights.length);
    const others = accepted.filter(
      (byte) =>
        !inside(byte, weightsAt, weights.length) &&
        !inside(byte, nodeName, 7) &&
        !inside(byte, graphName, 7) &&
        !inside(byte, words, 5),
    );
    // The versions; the name of the graph becomes its documentation, the documentation the domain of the model.
    expect([...new Set(others)]).toEqual([1, graphName - 2, words - 3, words - 2]);
  });
});

/** Activations for a graph whose number of columns another reader says. */
function activationsOf(count: number): Uint8Array {
  return Uint8Array.from({ length: 5 * count }, (_, i) => (i * 29) % 128);
}

function expectedOf(graph: Uint8Array): Int32Array {
  const product = looseProduct(graph);
  return plainProduct({ ...product, rows: 5, activations: activationsOf(product.columns) });
}

/** What the runtime computes; the names of the values must be those of the good graph. */
function resultOf(graph: Uint8Array): Int32Array {
  const fields = looseFields(looseFields(graph).get(7)?.[0] as Uint8Array);
  const name = (field: number) =>
    Buffer.from(looseFields(fields.get(field)?.[0] as Uint8Array).get(1)?.[0] as Uint8Array).toString();
  const { columns: k, outputs } = looseProduct(graph);
  const sums = new Int32Array(5 * outputs);
  const session = openOrtProducts(graph, { activations: name(11), sums: name(12) });
  session.run(activationsOf(k), 5, sums);
  session.close();
  return sums;
}
