import { createHash } from 'node:crypto';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { DecoderFamily } from '../../../inference/decoder-config.ts';
import {
  LAYER_TENSORS,
  type LayerTensor,
  MODEL_TENSORS,
  type TensorPlace,
  tensorShape,
} from '../../../inference/model-source.ts';
import { openSafetensorsSource } from '../../../inference/safetensors/safetensors-source.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import {
  encodeValues,
  folderFiles,
  type RawTensor,
  type TinyFolder,
  tinyFolder,
  writeFolder,
} from '../../support/tiny-safetensors.ts';

/** Names of transformers, written out here once more. */
const NAMES: Readonly<Record<LayerTensor, string>> = {
  attentionNorm: 'input_layernorm.weight',
  query: 'self_attn.q_proj.weight',
  queryBias: 'self_attn.q_proj.bias',
  queryNorm: 'self_attn.q_norm.weight',
  key: 'self_attn.k_proj.weight',
  keyBias: 'self_attn.k_proj.bias',
  keyNorm: 'self_attn.k_norm.weight',
  value: 'self_attn.v_proj.weight',
  valueBias: 'self_attn.v_proj.bias',
  attentionOutput: 'self_attn.o_proj.weight',
  feedForwardNorm: 'post_attention_layernorm.weight',
  gate: 'mlp.gate_proj.weight',
  up: 'mlp.up_proj.weight',
  down: 'mlp.down_proj.weight',
};
const MODEL_NAMES = {
  embedding: 'model.embed_tokens.weight',
  outputNorm: 'model.norm.weight',
  output: 'lm_head.weight',
};

function write(folder: TinyFolder, shards = 1): string {
  const path = temporaryFolder();
  writeFolder(path, folderFiles(folder, shards));
  return path;
}

const fault = (code: string, at: object) =>
  expect.objectContaining({ name: 'ModelError', code, at: expect.objectContaining(at) });

describe.each<DecoderFamily>(['llama', 'qwen2', 'qwen3'])('a folder of %s', (family) => {
  it.each([
    ['BF16', true, 1],
    ['F16', false, 2],
    ['F32', true, 3],
  ] as const)('in %s, tied %j, in %i files gives every number', (dtype, tied, shards) => {
    const folder = tinyFolder(family, { dtype, tied });
    const source = openSafetensorsSource(write(folder, shards));
    const { config } = source;
    expect(config).toMatchObject({ family, tiedOutput: tied, attentionBias: family === 'qwen2' });
    const places: TensorPlace[] = [
      ...MODEL_TENSORS.map((tensor) => ({ tensor })),
      ...[0, 1].flatMap((layer) => LAYER_TENSORS.map((tensor) => ({ tensor, layer }))),
    ];
    let found = 0;
    for (const place of places) {
      const name =
        place.layer === undefined ? MODEL_NAMES[place.tensor] : `model.layers.${place.layer}.${NAMES[place.tensor]}`;
      const shape = tensorShape(config, place.tensor);
      const want = folder.values.get(name);
      expect(shape === undefined).toBe(want === undefined);
      if (shape === undefined) {
        expect(() => source.readRows(place, 0, 1, new Float32Array(1 << 12))).toThrowError(
          fault('MISSING_TENSOR', { tensor: name }),
        );
        continue;
      }
      const [rows, columns] = shape;
      const out = new Float32Array(rows * columns + 3).fill(7);
      source.readRows(place, 0, rows, out);
      expect([...out]).toEqual([...(want ?? []), 7, 7, 7]);
      const first = Math.floor(rows / 2);
      const row = new Float32Array(columns);
      source.readRows(place, first, 1, row);
      expect(row).toEqual(want?.slice(first * columns, (first + 1) * columns));
      found++;
    }
    expect(found).toBe(folder.tensors.size);
    source.close();
  });
});

describe('rows', () => {
  it('are read one chunk after the other', () => {
    const folder = tinyFolder('llama', { dtype: 'F32' });
    // 271 rows of 8192 values are more than two chunks of 4 MiB.
    const wide = Float32Array.from({ length: 271 * 8192 }, (_, i) => i);
    folder.config['hidden_size'] = 8192;
    for (const [name, tensor] of folder.tensors) {
      const shape = tensor.shape.map((extent) => (extent === 32 && !name.endsWith('o_proj.weight') ? 8192 : extent));
      if (name.includes('down_proj')) shape[0] = 8192;
      if (/[qkv]_proj|gate|up/.test(name)) shape[0] = tensor.shape[0] ?? 0;
      if (name.includes('o_proj')) shape[0] = 8192;
      const size = 4 * shape.reduce((a, b) => a * b, 1);
      const bytes = name.includes('embed') ? new Uint8Array(wide.buffer) : new Uint8Array(size);
      folder.tensors.set(name, { dtype: 'F32', shape, bytes });
    }
    const source = openSafetensorsSource(write(folder));
    const out = new Float32Array(wide.length);
    source.readRows({ tensor: 'embedding' }, 0, 271, out);
    expect(Buffer.compare(Buffer.from(out.buffer), Buffer.from(wide.buffer))).toBe(0);
    source.close();
  });

  it('are asked for within the tensor, and fit', () => {
    const source = openSafetensorsSource(write(tinyFolder('qwen3')));
    const out = new Float32Array(64);
    for (const [first, count] of [
      [-1, 1],
      [0, 279],
      [278, 1],
      [0.5, 1],
      [0, 3],
      [0, -1],
    ] as const) {
      expect(() => source.readRows({ tensor: 'embedding' }, first, count, out)).toThrowError(RangeError);
    }
    expect(() => source.readRows({ tensor: 'query', layer: 2 }, 0, 1, out)).toThrowError(
      fault('MISSING_TENSOR', { tensor: 'model.layers.2.self_attn.q_proj.weight' }),
    );
    source.readRows({ tensor: 'embedding' }, 0, 0, out);
    source.close();
  });
});

describe('tensors beside those of the decoder', () => {
  const with_ = (family: DecoderFamily, name: string, tensor: RawTensor) => {
    const folder = tinyFolder(family);
    folder.tensors.set(name, tensor);
    return folder;
  };
  const one: RawTensor = { dtype: 'F32', shape: [1], bytes: new Uint8Array(4) };

  it('may be stored frequencies', () => {
    for (const name of ['model.rotary_emb.inv_freq', 'model.layers.1.self_attn.rotary_emb.inv_freq']) {
      openSafetensorsSource(write(with_('llama', name, one))).close();
    }
  });

  it('may be the tied embedding again, byte for byte', () => {
    const folder = tinyFolder('qwen2');
    const embedding = folder.tensors.get('model.embed_tokens.weight') as RawTensor;
    folder.tensors.set('lm_head.weight', embedding);
    openSafetensorsSource(write(folder, 2)).close();

    const bytes = Uint8Array.from(embedding.bytes);
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    for (const other of [
      { ...embedding, bytes },
      { ...embedding, dtype: 'F16' },
      { ...embedding, shape: [...embedding.shape].reverse() },
    ]) {
      folder.tensors.set('lm_head.weight', other);
      expect(() => openSafetensorsSource(write(folder))).toThrowError(
        fault('UNEXPECTED_TENSOR', { tensor: 'lm_head.weight' }),
      );
    }
  });

  it.each([
    'model.layers.2.self_attn.q_proj.weight',
    'model.layers.0.self_attn.o_proj.bias',
    'model.layers.0.mlp.up_proj.bias',
    'model.layers.0.self_attn.q_proj.bias',
    'model.layers.0.self_attn.q_norm.weight',
    'model.layers.0.self_attn.q_proj.weight_scale',
    'score.weight',
    'embed_tokens.weight',
    'model.layers.01.mlp.up_proj.weight',
  ])('%s is refused', (name) => {
    expect(() => openSafetensorsSource(write(with_('llama', name, one)))).toThrowError(
      fault('UNEXPECTED_TENSOR', { tensor: name }),
    );
  });
});

describe('a faulty folder', () => {
  it.each<[string, DecoderFamily, (folder: TinyFolder) => void, string, object]>([
    [
      'without the output of an untied model',
      'llama',
      (folder) => (folder.config['tie_word_embeddings'] = false),
      'MISSING_TENSOR',
      { tensor: 'lm_head.weight' },
    ],
    [
      'without a bias',
      'qwen2',
      (folder) => folder.tensors.delete('model.layers.1.self_attn.k_proj.bias'),
      'MISSING_TENSOR',
      { tensor: 'model.layers.1.self_attn.k_proj.bias' },
    ],
    [
      'without a norm of heads',
      'qwen3',
      (folder) => folder.tensors.delete('model.layers.0.self_attn.q_norm.weight'),
      'MISSING_TENSOR',
      { tensor: 'model.layers.0.self_attn.q_norm.weight' },
    ],
    [
      'with a layer too few',
      'llama',
      (folder) => (folder.config['num_hidden_layers'] = 1),
      'UNEXPECTED_TENSOR',
      { tensor: 'model.layers.1.input_layernorm.weight' },
    ],
    [
      'with half the heads of keys',
      'llama',
      (folder) => (folder.config['num_key_value_heads'] = 1),
      'TENSOR_SHAPE_MISMATCH',
      { tensor: 'model.layers.0.self_attn.k_proj.weight' },
    ],
    [
      'with a matrix lying on its side',
      'llama',
      (folder) => {
        const name = 'model.layers.0.mlp.up_proj.weight';
        const tensor = folder.tensors.get(name) as RawTensor;
        folder.tensors.set(name, { ...tensor, shape: [...tensor.shape].reverse() });
      },
      'TENSOR_SHAPE_MISMATCH',
      { tensor: 'model.layers.0.mlp.up_proj.weight' },
    ],
    [
      'with a norm that is a matrix',
      'llama',
      (folder) => {
        const tensor = folder.tensors.get('model.norm.weight') as RawTensor;
        folder.tensors.set('model.norm.weight', { ...tensor, shape: [1, 32] });
      },
      'TENSOR_SHAPE_MISMATCH',
      { tensor: 'model.norm.weight' },
    ],
    [
      'with weights of another type',
      'llama',
      (folder) => {
        const tensor = folder.tensors.get('model.norm.weight') as RawTensor;
        folder.tensors.set('model.norm.weight', { ...tensor, dtype: 'I16' });
      },
      'UNSUPPORTED_TENSOR_TYPE',
      { tensor: 'model.norm.weight' },
    ],
    [
      'of another architecture',
      'llama',
      (folder) => (folder.config['model_type'] = 'gemma2'),
      'UNSUPPORTED_ARCHITECTURE',
      { key: 'model_type' },
    ],
  ])('%s', (_, family, change, code, at) => {
    const folder = tinyFolder(family);
    change(folder);
    expect(() => openSafetensorsSource(write(folder))).toThrowError(fault(code, at));
  });

  it.each(['config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors'])('without %s', (name) => {
    const path = write(tinyFolder('llama'));
    rmSync(join(path, name));
    expect(() => openSafetensorsSource(path)).toThrowError(fault('FILE_UNREADABLE', { file: name }));
    mkdirSync(join(path, name));
    expect(() => openSafetensorsSource(path)).toThrowError(fault('FILE_UNREADABLE', { file: name }));
    rmSync(join(path, name), { recursive: true });
    symlinkSync(name, join(path, name));
    expect(() => openSafetensorsSource(path)).toThrowError(fault('FILE_UNREADABLE', { file: name }));
  });

  it('that is not there', () => {
    expect(() => openSafetensorsSource(join(temporaryFolder(), 'none'))).toThrowError(
      fault('FILE_UNREADABLE', { file: 'config.json' }),
    );
  });

  it.each<[string, string, string]>([
    ['config.json', '[]', 'MALFORMED_METADATA'],
    ['config.json', '{"hidden_size":32,"hidden_size":32}', 'DUPLICATE_KEY'],
    ['config.json', '', 'MALFORMED_METADATA'],
    ['config.json', `{"a":"${'x'.repeat(1 << 20)}"}`, 'TOO_LARGE'],
    ['config.json', `{"a":[${'0,'.repeat(1 << 15)}0]}`, 'TOO_LARGE'],
    ['config.json', `{"a":${'['.repeat(100)}${']'.repeat(100)}}`, 'TOO_DEEP'],
    ['tokenizer.json', '{', 'MALFORMED_METADATA'],
    ['tokenizer_config.json', 'null', 'MALFORMED_METADATA'],
    ['generation_config.json', '{"eos_token_id":"2"}', 'MALFORMED_METADATA'],
    ['chat_template.jinja', 'x'.repeat(1 << 21), 'MALFORMED_TEMPLATE'],
    ['chat_template.jinja', 'x'.repeat(1 << 23), 'TOO_LARGE'],
  ])('with %s %.20s', (name, text, code) => {
    const path = write(tinyFolder('llama'));
    writeFileSync(join(path, name), text);
    expect(() => openSafetensorsSource(path)).toThrowError(expect.objectContaining({ name: 'ModelError', code }));
  });
});

describe('several files', () => {
  const INDEX = 'model.safetensors.index.json';
  const changed = (change: (index: { weight_map: Record<string, unknown> }) => unknown) => {
    const files = folderFiles(tinyFolder('llama'), 2);
    const index = JSON.parse(Buffer.from(files.get(INDEX) ?? []).toString());
    const path = temporaryFolder();
    writeFolder(path, files.set(INDEX, Buffer.from(JSON.stringify(change(index) ?? index))));
    return path;
  };
  const second = 'model-00002-of-00002.safetensors';

  it.each<[string, (index: { weight_map: Record<string, unknown> }) => unknown, string]>([
    ['no map', () => ({ metadata: {} }), 'MALFORMED_METADATA'],
    ['an empty map', () => ({ weight_map: {} }), 'MALFORMED_METADATA'],
    ['a list', () => ({ weight_map: [] }), 'MALFORMED_METADATA'],
    ...['../x.safetensors', '/etc/x.safetensors', 'a/b.safetensors', 'x.bin', '.safetensors', 'x\0.safetensors', 3].map(
      (name): [string, (index: { weight_map: Record<string, unknown> }) => unknown, string] => [
        `a file ${JSON.stringify(name)}`,
        ({ weight_map }) => {
          weight_map['model.norm.weight'] = name;
        },
        'MALFORMED_METADATA',
      ],
    ),
    [
      'a file that is absent',
      ({ weight_map }) => {
        weight_map['x'] = 'model-00003-of-00003.safetensors';
      },
      'FILE_UNREADABLE',
    ],
    [
      'a thousand files',
      ({ weight_map }) => {
        for (let i = 0; i < 1000; i++) weight_map[`x${i}`] = `x${i}.safetensors`;
      },
      'MALFORMED_METADATA',
    ],
    [
      'a tensor in the wrong file',
      ({ weight_map }) => {
        weight_map['model.embed_tokens.weight'] = second;
      },
      'UNEXPECTED_TENSOR',
    ],
    [
      'a tensor too few',
      ({ weight_map }) => {
        delete weight_map['model.embed_tokens.weight'];
      },
      'UNEXPECTED_TENSOR',
    ],
    [
      'a tensor too many',
      ({ weight_map }) => {
        weight_map['model.extra'] = second;
      },
      'MISSING_TENSOR',
    ],
  ])('whose index has %s', (_, change, code) => {
    expect(() => openSafetensorsSource(changed(change))).toThrowError(
      expect.objectContaining({ name: 'ModelError', code }),
    );
  });

  it('that hold one tensor twice', () => {
    const folder = tinyFolder('llama');
    const files = folderFiles(folder, 2);
    const path = temporaryFolder();
    writeFolder(path, files.set('model-00001-of-00002.safetensors', files.get(second) ?? new Uint8Array()));
    expect(() => openSafetensorsSource(path)).toThrowError(
      expect.objectContaining({ code: expect.stringMatching(/DUPLICATE_TENSOR|UNEXPECTED_TENSOR/) }),
    );
  });

  it('yield to a single one', () => {
    const path = changed(() => undefined);
    writeFolder(path, new Map([['model.safetensors', Uint8Array.of(1)]]));
    expect(() => openSafetensorsSource(path)).toThrowError(fault('TRUNCATED', { file: 'model.safetensors' }));
  });
});

describe('the digest', () => {
  const digestOf = async (path: string) => {
    const source = openSafetensorsSource(path);
    const progress: string[] = [];
    const digest = await source.digest((message) => progress.push(message));
    source.close();
    return { digest, progress };
  };

  it('is that of the names, lengths and digests of all files', async () => {
    const path = temporaryFolder();
    const files = folderFiles(tinyFolder('qwen3'), 2).set('chat_template.jinja', Buffer.from('{{ messages }}'));
    writeFolder(path, new Map([...files, ['README.md', Buffer.from('not read')]]));
    const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
    const listed = [...files.keys()].sort().map((name) => {
      const bytes = files.get(name) ?? new Uint8Array();
      return `{"name":"${name}","sha256":"0x${sha256(bytes)}","sizeBytes":${bytes.length}}`;
    });
    const { digest, progress } = await digestOf(path);
    expect(digest).toBe(`0x${sha256(Buffer.from(`{"files":[${listed.join()}]}`))}`);
    expect(progress).toHaveLength(files.size);
  });

  it('changes with every file and every name', async () => {
    const digests = new Set<string>();
    const path = write(tinyFolder('llama'));
    digests.add((await digestOf(path)).digest);
    expect((await digestOf(path)).digest).toBe([...digests][0]);
    const changed = tinyFolder('llama');
    const norm = changed.tensors.get('model.norm.weight') as RawTensor;
    const values = (changed.values.get('model.norm.weight') ?? new Float32Array()).map((value) => -value);
    changed.tensors.set('model.norm.weight', { ...norm, bytes: encodeValues('BF16', values) });
    digests.add((await digestOf(write(changed))).digest);
    digests.add((await digestOf(write(tinyFolder('llama'), 2))).digest);
    rmSync(join(path, 'generation_config.json'));
    digests.add((await digestOf(path)).digest);
    writeFileSync(join(path, 'chat_template.jinja'), '');
    digests.add((await digestOf(path)).digest);
    expect(digests.size).toBe(5);
  });

  it('is that of the opened files, whatever lies there later', async () => {
    const path = write(tinyFolder('llama'));
    const { digest } = await digestOf(path);
    const source = openSafetensorsSource(path);
    renameSync(join(path, 'model.safetensors'), join(path, 'old'));
    writeFileSync(join(path, 'model.safetensors'), 'other');
    writeFileSync(join(path, 'config.json'), '{}');
    expect(await source.digest()).toBe(digest);
    source.close();
  });
});
