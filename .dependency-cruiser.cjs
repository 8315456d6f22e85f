/**
 * Direction of imports (type-only ones count too): agents -> runtime -> inference -> attest. An arrow may skip layers and
 * never turns back. `npm run layers` applies these rules; test/layers/rules.test.ts breaks each of them once.
 */

const PRODUCT = '^(attest|inference|runtime|agents)/';

/** A package that only some files may import. */
function onlyIn(name, packages, files, comment) {
  return {
    name,
    comment,
    severity: 'error',
    from: { path: PRODUCT, pathNot: files },
    to: { path: `(^|/)node_modules/${packages}/` },
  };
}

/** A folder that must not see the folders above it. */
function below(folder, above) {
  return {
    name: `${folder}-imports-upward`,
    comment: `${folder}/ imports nothing of ${above}`,
    severity: 'error',
    from: { path: `^${folder}/` },
    to: { path: `^(${above})/` },
  };
}

module.exports = {
  forbidden: [
    { name: 'cycle', severity: 'error', from: {}, to: { circular: true } },
    below('attest', 'inference|runtime|agents'),
    below('inference', 'runtime|agents'),
    below('runtime', 'agents'),
    {
      name: 'runtime-past-the-door-of-inference',
      comment: 'runtime talks to inference over its API: protocol and client are all it may know',
      severity: 'error',
      from: { path: '^runtime/', pathNot: '^runtime/api/' },
      to: { path: '^inference/', pathNot: '^inference/(protocol|client)\\.ts$' },
    },
    {
      name: 'runtime-api-past-the-parts-of-any-api',
      comment: 'the two HTTP APIs share what neither owns: the application, keys, refusals, streams, documents',
      severity: 'error',
      from: { path: '^runtime/api/' },
      to: {
        path: '^inference/',
        pathNot:
          '^inference/(http-app|access|api-errors|protocol-faults|response-end|api/(json-body|sse)|openapi/(common-schemas|make-document|operation)|routes/docs)\\.ts$',
      },
    },
    onlyIn('opentelemetry-outside-telemetry', '@opentelemetry', '^runtime/telemetry/', 'spans are made in one folder, and loaded when they are asked for'),
    onlyIn('onnxruntime-outside-session', 'onnxruntime-(node|common|web)', '^inference/(session|exact/ort/node-products)\\.ts$', 'one adapter to ONNX Runtime for each profile'),
    onlyIn(
      'transformers-outside-its-adapter',
      '@(xenova|huggingface)/transformers',
      '^inference/float/transformers-library\\.ts$',
      'it loads ONNX Runtime, which the exact profile does without',
    ),
    onlyIn(
      'tokenizers-outside-its-adapter',
      '@huggingface/(tokenizers|jinja)',
      '^inference/huggingface-library\\.ts$',
      'the tokenizer library is behind a port',
    ),
    {
      name: 'transformers-loaded-at-start',
      comment: 'imported when asked for, by the profile that needs ONNX Runtime anyway',
      severity: 'error',
      from: { path: PRODUCT },
      to: { path: '^inference/float/transformers-library\\.ts$', dynamic: false },
    },
    onlyIn('quickjs-outside-its-vm', '(quickjs-[^/]+|@jitl/quickjs-[^/]+)', '^runtime/sandbox/quickjs-vm\\.ts$', 'one adapter to QuickJS'),
    onlyIn(
      'ethers-outside-its-adapters',
      'ethers',
      '^(attest/(bond/|sign/(struct-encoder|transaction)\\.ts$)|runtime/wallet/)',
      'the chain is behind ports, EIP-712 and transactions behind one file each; only these know ethers',
    ),
    onlyIn('mcp-client-outside-its-adapter', '@modelcontextprotocol/(client|core)', '^runtime/mcp/connection\\.ts$', 'one adapter to the MCP client'),
    onlyIn(
      'mcp-server-outside-its-adapters',
      '@modelcontextprotocol/server',
      '^(runtime/mcp/agent-[a-z]+\\.ts$|runtime/api/mcp-route\\.ts$|agents/cli/serve-mcp\\.ts$)',
      'agents as an MCP server, over HTTP and standard input and output',
    ),
    onlyIn('redis-outside-its-machinery', '(ioredis|bullmq)', '^runtime/queue/redis-[a-z]+\\.ts$', 'Redis is behind the ports of the queue'),
    {
      name: 'game-imports-node',
      comment: 'the dispute game is a pure state machine',
      severity: 'error',
      from: { path: '^attest/dispute/game\\.ts$' },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'setup-needs-packages',
      comment: 'the set-up runs before npm ci: Node alone, and its own files; only the build, after it, has a compiler',
      severity: 'error',
      from: { path: '^agents/setup/', pathNot: '^agents/setup/build(-page)?\\.mjs$' },
      to: { dependencyTypesNot: ['core'], pathNot: '^agents/setup/' },
    },
    {
      name: 'build-needs-packages',
      severity: 'error',
      from: { path: '^agents/setup/build\\.mjs$' },
      to: { dependencyTypesNot: ['core'], pathNot: '^(agents/setup|node_modules/typescript)/' },
    },
    {
      name: 'page-build-needs-packages',
      severity: 'error',
      from: { path: '^agents/setup/build-page\\.mjs$' },
      to: { dependencyTypesNot: ['core'], pathNot: '^(agents/setup|node_modules/vite)/' },
    },
    {
      name: 'page-imports-node',
      comment: 'the page runs in a browser; its build refuses what its imports import of Node',
      severity: 'error',
      from: { path: '^attest/inspector/page/' },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'product-imports-test',
      severity: 'error',
      from: { path: PRODUCT },
      to: { path: '(^test/|\\.(test|fuzz)\\.ts$)' },
    },
    {
      name: 'product-imports-devdependency',
      comment: 'the build compiles in a checkout, and only there; the page is published as it was built, library included',
      severity: 'error',
      from: { path: PRODUCT, pathNot: '^(agents/setup/build(-page)?\\.mjs$|attest/inspector/page/)' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'undeclared-package',
      severity: 'error',
      from: {},
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown'] },
    },
    {
      name: 'unresolvable',
      comment: "the package's own name stands for agents/sdk, which examples import as their users do",
      severity: 'error',
      from: {},
      to: { couldNotResolve: true, pathNot: '^tracebond$' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
    },
  },
};
