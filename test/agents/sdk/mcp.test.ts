import { describe, expect, it } from 'vitest';
import { type McpToolOptions, mcpTool, mcpTools, type PinnedMcpServer } from '../../../agents/sdk/index.ts';
import { toMcpCaller } from '../../../agents/sdk/mcp-call.ts';

const DIGEST = `0x${'11'.repeat(32)}`;

function pinned(...names: readonly string[]): PinnedMcpServer {
  const inputSchema = { type: 'object', properties: { a: { type: 'number' } } };
  return { server: 'files', tools: names.map((name) => ({ definition: { name, inputSchema }, digest: DIGEST })) };
}

describe('pinned tools', () => {
  it('are tools with the pinned schema and one capability', () => {
    const tool = mcpTool(pinned('read'), 'read', { limits: { memoryMb: 8 } });
    expect(tool).toMatchObject({ name: 'read', asText: true, limits: { memoryMb: 8 } });
    expect(tool.capabilities.mcp).toEqual([{ server: 'files', tool: 'read', definition: DIGEST, idempotent: false }]);
    expect(tool.inputSchema?.['~standard'].jsonSchema?.input({ target: 'draft-2020-12' })).toEqual(
      pinned('read').tools[0]?.definition.inputSchema,
    );
  });

  it.each([
    [{ readOnlyHint: true }, {}, true],
    [{ readOnlyHint: false, idempotentHint: true }, {}, true],
    [{ readOnlyHint: false, idempotentHint: false }, {}, false],
    [undefined, {}, false],
    [{ readOnlyHint: true }, { idempotent: false }, false],
    [undefined, { idempotent: true }, true],
  ])(
    'may be sent again as annotations %j and the developer %j say: %s',
    (annotations, options: McpToolOptions, may) => {
      const [tool] = pinned('a').tools;
      const definition = { ...tool?.definition, name: 'a', inputSchema: {}, ...(annotations && { annotations }) };
      const made = mcpTool({ server: 'files', tools: [{ definition, digest: DIGEST }] }, 'a', options);
      expect(made.capabilities.mcp?.[0]?.idempotent).toBe(may);
    },
  );

  it('are named in one way, and kept apart', () => {
    const names = ['get-sum', 'Read File', 'a.b/c', '2nd', 'é', 'x'.repeat(100)];
    expect(mcpTools(pinned(...names)).map(({ name }) => name)).toEqual([
      'get-sum',
      'read_file',
      'a_b_c',
      't_2nd',
      't__',
      'x'.repeat(64),
    ]);
    expect(mcpTools(pinned('a'), { prefix: 'files_' }).map(({ name }) => name)).toEqual(['files_a']);
    expect(() => mcpTools(pinned('a.b', 'c', 'a_b'))).toThrow(
      'tools a.b and a_b of MCP server files would both be called a_b',
    );
    expect(mcpTool(pinned('a.b'), 'a.b', { name: 'other' }).name).toBe('other');
  });

  it.each([
    ['no tool b', () => mcpTool(pinned('a'), 'b')],
    ['expected the content of a file', () => mcpTools([] as never)],
    [
      'has no digest',
      () => mcpTool({ ...pinned('a'), tools: [{ ...pinned('a').tools[0], digest: '0x' } as never] }, 'a'),
    ],
    ['name must match', () => mcpTool(pinned('a'), 'a', { name: 'A' })],
    ['a server has no name', () => mcpTool({ ...pinned('a'), server: 'a b' }, 'a')],
  ])('are refused where they are none: %s', (message, make) => {
    expect(make).toThrow(TypeError);
    expect(make).toThrow(message);
  });
});

describe('an answer', () => {
  const read = async (answer: unknown) => {
    const calls: unknown[] = [];
    const call = async (method: string, args: unknown) => {
      calls.push([method, args]);
      return JSON.stringify(answer);
    };
    const value = await toMcpCaller(call)('files', 'read', { a: 0.5 });
    expect(calls).toEqual([['mcp.call', { server: 'files', tool: 'read', arguments: '{"a":0.5}' }]]);
    return value;
  };
  const text = (said: string) => ({ type: 'text', text: said });

  it.each([
    ['its structured content', { content: [text('x')], structuredContent: { a: 0.5 } }, { a: 0.5 }],
    ['its texts', { content: [text('a'), text('b')] }, 'a\nb'],
    ['nothing', { content: [] }, ''],
    [
      'other content as data',
      { content: [text('a'), { type: 'audio', data: 'x' }] },
      { text: 'a', content: [{ type: 'audio', data: 'x' }] },
    ],
  ])('is read as %s', async (_, result, value) => {
    expect(await read({ result })).toEqual(value);
  });

  it('that is an error is thrown with the words of the server', async () => {
    await expect(read({ result: { content: [text('no such row')], isError: true } })).rejects.toThrow('no such row');
    await expect(read({ result: { content: [], isError: true } })).rejects.toThrow('said nothing');
    await expect(read({ error: { code: -32602, message: 'bad arguments' } })).rejects.toThrow('bad arguments');
  });
});
