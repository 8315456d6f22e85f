/**
 * Compiles the contracts with solc-js into the committed artifact: standard JSON, no metadata in the bytecode, source
 * names without paths of a machine, so the same sources give the same bytes everywhere.
 *
 * `npx tsx test/support/compile-bond.ts` writes `attest/bond/contracts/bond.artifact.json`.
 *
 * @module
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const CONTRACTS = new URL('../../attest/bond/contracts/', import.meta.url);

/** Where the committed artifact lies. */
export const ARTIFACT_URL = new URL('bond.artifact.json', CONTRACTS);

const SETTINGS = {
  evmVersion: 'cancun',
  viaIR: true,
  optimizer: { enabled: true, runs: 200 },
  metadata: { bytecodeHash: 'none', appendCBOR: false },
} as const;

const PRODUCTS = ['Bond', 'TestToken'] as const;

type Compiled = {
  readonly abi: unknown[];
  readonly evm: {
    readonly bytecode: { readonly object: string };
    readonly deployedBytecode: { readonly object: string };
  };
};
type Output = {
  readonly errors?: readonly {
    readonly formattedMessage: string;
    readonly sourceLocation?: { readonly file: string };
  }[];
  readonly contracts?: Readonly<Record<string, Readonly<Record<string, Compiled>>>>;
};
type Solc = {
  readonly version: () => string;
  readonly compile: (
    input: string,
    callbacks: { import: (path: string) => { contents: string } | { error: string } },
  ) => string;
};

/** The artifact as text and the deployed size of each contract in bytes. */
export type CompiledBond = { readonly text: string; readonly deployedBytes: Readonly<Record<string, number>> };

/**
 * Compiles every contract of the folder.
 *
 * @throws Error with the compiler's words if anything, a warning included, is wrong with our own sources
 */
export function compileBond(): CompiledBond {
  const names = readdirSync(CONTRACTS)
    .filter((name) => name.endsWith('.sol'))
    .sort();
  const sources = names.map((name) => [name, readFileSync(new URL(name, CONTRACTS), 'utf8')] as const);
  const { compiler, output } = compile(Object.fromEntries(sources));
  const contracts: Record<string, { abi: unknown[]; bytecode: string }> = {};
  const deployedBytes: Record<string, number> = {};
  for (const name of PRODUCTS) {
    const compiled = output(name);
    contracts[name] = { abi: compiled.abi, bytecode: `0x${compiled.evm.bytecode.object}` };
    deployedBytes[name] = compiled.evm.deployedBytecode.object.length / 2;
  }
  const artifact = { compiler, settings: SETTINGS, contracts };
  return { text: `${JSON.stringify(artifact, null, 1)}\n`, deployedBytes };
}

/** Compiles one contract of a test, `contract NAME` in `source`. */
export function compileContract(name: string, source: string): { abi: unknown[]; bytecode: string } {
  const compiled = compile({ [`${name}.sol`]: source }).output(name);
  return { abi: compiled.abi, bytecode: `0x${compiled.evm.bytecode.object}` };
}

function compile(sources: Readonly<Record<string, string>>) {
  const require = createRequire(import.meta.url);
  const solc = require('solc') as Solc;
  const input = {
    language: 'Solidity',
    sources: Object.fromEntries(Object.entries(sources).map(([name, content]) => [name, { content }])),
    settings: {
      ...SETTINGS,
      outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object'] } },
    },
  };
  const answer = JSON.parse(
    solc.compile(JSON.stringify(input), {
      import: (path) => {
        if (!path.startsWith('@openzeppelin/')) return { error: `no such source: ${path}` };
        return { contents: readFileSync(require.resolve(path), 'utf8') };
      },
    }),
  ) as Output;
  const faults = (answer.errors ?? []).filter((error) => !error.sourceLocation?.file.startsWith('@'));
  if (faults.length > 0) throw new Error(faults.map((error) => error.formattedMessage).join('\n'));
  const output = (name: string): Compiled => {
    const compiled = answer.contracts?.[`${name}.sol`]?.[name];
    if (compiled === undefined) throw new Error(`the compiler gave no ${name}`);
    return compiled;
  };
  return { compiler: solc.version(), output };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { text, deployedBytes } = compileBond();
  writeFileSync(ARTIFACT_URL, text);
  console.log(deployedBytes);
}
