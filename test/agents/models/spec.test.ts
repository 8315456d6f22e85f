import { describe, expect, it } from 'vitest';
import { ModelPullError } from '../../../agents/models/errors.ts';
import { checkAddress, defaultModelId, type ModelSpec, parseModelSpec } from '../../../agents/models/spec.ts';

const COMMIT = 'ab810cf68114990406fdf996510dd3d3c6adbdf5';

describe('parseModelSpec', () => {
  it.each<[string, ModelSpec]>([
    ['smollm2-135m-instruct', { kind: 'shipped' }],
    ['hf:a/b', { kind: 'hub', repository: 'a/b', revision: 'main', file: null }],
    [`hf:a/b-c.d@${COMMIT}`, { kind: 'hub', repository: 'a/b-c.d', revision: COMMIT, file: null }],
    ['hf:a/b@refs/pr/1:x/y.gguf', { kind: 'hub', repository: 'a/b', revision: 'refs/pr/1', file: 'x/y.gguf' }],
    ['hf:a/b:y.gguf', { kind: 'hub', repository: 'a/b', revision: 'main', file: 'y.gguf' }],
    ['https://models.example/x.gguf#part', { kind: 'url', url: 'https://models.example/x.gguf' }],
    ['http://127.0.0.1:1/x.gguf', { kind: 'url', url: 'http://127.0.0.1:1/x.gguf' }],
    ['/models/x.gguf', { kind: 'path', path: '/models/x.gguf' }],
    ['wheel:a-b==1.0.post1:a_b/x.gguf', { kind: 'wheel', package: 'a-b', version: '1.0.post1', entry: 'a_b/x.gguf' }],
  ])('reads %s', (text, spec) => {
    expect(parseModelSpec(text)).toEqual(spec);
  });

  it('takes relative paths, and a lone word only where a file of that name is', () => {
    expect(parseModelSpec('x.gguf')).toEqual({ kind: 'path', path: `${process.cwd()}/x.gguf` });
    expect(parseModelSpec('agents')).toEqual({ kind: 'path', path: `${process.cwd()}/agents` });
  });

  it.each([
    '',
    'smollm3',
    'hf:',
    'hf:only',
    'hf:a/b/c',
    'hf:a/b@',
    'hf:a/b:',
    'hf:a/b:../x.gguf',
    'hf:a/b:/etc/x.gguf',
    'hf:a/b:x//y.gguf',
    'hf:a/b@../../x',
    'hf:../b',
    'hf:a/b:x\n.gguf',
    'ftp://models.example/x.gguf',
    'https://user:secret@models.example/x.gguf',
    'https://',
    'https://models.example/%zz',
    'wheel:a',
    'wheel:a==1',
    'wheel:a==1:',
    'wheel:a==1:../x.gguf',
    'wheel:-r==1:x.gguf',
    'wheel:a==--index:x.gguf',
    'wheel:a==1 --index-url=x:x.gguf',
    'x\0.gguf',
    `/${'x'.repeat(5000)}`,
  ])('refuses %j', (text) => {
    const refuse = () => parseModelSpec(text);
    expect(refuse).toThrow(ModelPullError);
    expect(refuse).toThrow(text.startsWith('ftp') ? /https/ : /names no model/);
  });

  it.each(['http://models.example/x.gguf', 'http://127.0.0.1.models.example/x', 'http://localhost.example/'])(
    'refuses %s, where others could change the answer',
    (text) => {
      expect(() => parseModelSpec(text)).toThrow(expect.objectContaining({ code: 'INSECURE_ADDRESS' }));
      expect(() => checkAddress(new URL(text))).toThrow(expect.objectContaining({ code: 'INSECURE_ADDRESS' }));
    },
  );
});

it.each([
  ['hf:a/Qwen3-0.6B', 'qwen3-0.6b'],
  ['hf:a/b:sub/Tiny.Q4_0.gguf', 'tiny.q4_0'],
  ['https://models.example/a%20b/My%20Model.GGUF?x=1', 'my-model'],
  ['/models/--x--.gguf', 'x'],
  ['wheel:a==1:a/Tiny.gguf', 'tiny'],
  [`/models/${'y'.repeat(100)}`, 'y'.repeat(64)],
])('the model of %s is called %s', (text, id) => {
  expect(defaultModelId(parseModelSpec(text) as Exclude<ModelSpec, { kind: 'shipped' }>)).toBe(id);
});
