/**
 * The wallet of an agent, as its tools use it: what they declare, and `ctx.wallet`.
 *
 * Spec: `runtime/spec/wallet.md`.
 *
 * @module
 */

/** What may be called. */
export type WalletCall = {
  /** Address of the contract or payee; any if left out. */
  readonly contract?: string;
  /** Four bytes each, as `0xa9059cbb`; `0x` is a plain payment. `['0x']` if left out. */
  readonly selectors?: readonly string[];
};

/** What a tool wants to send on one chain. */
export type WalletCapability = {
  /** Chain id, in decimal. */
  readonly chain: string;
  readonly calls: readonly WalletCall[];
};

/** {@link WalletCapability}, checked and complete, as manifests hold it. */
export type WalletRule = {
  readonly chain: string;
  readonly calls: readonly { readonly contract: string | null; readonly selectors: readonly string[] }[];
};

/** What `ctx.wallet.send` sends. */
export type WalletRequest = {
  /** Address of 20 bytes. */
  readonly to: string;
  /** Wei; nothing if left out. A text is decimal. */
  readonly value?: bigint | number | string;
  /** Call data in hexadecimal with `0x`, at most 4,096 bytes. */
  readonly data?: string;
  /** Chain id in decimal; the one that the tool declares if left out. */
  readonly chain?: string;
};

/** How a person is asked, where the operator's limits want one. */
export type WalletOptions = {
  /** One line for them; made from the call if left out. */
  readonly summary?: string;
  /** Milliseconds after which it fails; 0, the default, waits as long as the run may. */
  readonly timeoutMs?: number;
};

/** A transaction in a block; numbers in decimal, amounts in wei. */
export type WalletReceipt = {
  readonly block: string;
  readonly blockHash: string;
  readonly effectiveGasPrice: string;
  readonly gasUsed: string;
  readonly hash: string;
  readonly nonce: string;
  readonly raw: string;
  readonly status: '0' | '1';
};

/** `ctx.wallet` of a tool. */
export type WalletContext = {
  /**
   * Sends one transaction, once, and waits until the chain keeps it. Where the operator's limits want a person's word, they are asked
   * first (`human.approve`), for as long as it takes.
   *
   * @throws Error with `code`: `CAPABILITY_DENIED` beyond what is granted, `HOST_CALL_FAILED` (`FEE_TOO_HIGH`, `INSUFFICIENT_FUNDS`,
   *   `REJECTED`, `UNREACHABLE`: nothing was sent), `APPROVAL_REFUSED`, `WALLET_REVERTED` with the `receipt` of what the contract refused
   * @throws TypeError for a malformed request
   */
  send(request: WalletRequest, options?: WalletOptions): Promise<WalletReceipt>;
};

/** Makes a host call (`HostCaller`). */
type Caller = (method: string, args: unknown) => Promise<unknown>;

type Args = { readonly chain: string; readonly data: string; readonly to: string; readonly value: string };

/**
 * Completes and checks what a tool declares.
 *
 * @throws TypeError for a malformed rule
 */
export function toWalletRules(declared: unknown, owner: string): readonly WalletRule[] {
  const refuse = (what: string) => new TypeError(`capabilities.wallet of tool ${owner}: ${what}`);
  if (!Array.isArray(declared)) throw refuse('expected a list');
  const rules = declared.map((entry: Partial<WalletCapability> | null): WalletRule => {
    const { chain, calls } = entry ?? {};
    if (typeof chain !== 'string' || !/^[1-9][0-9]{0,18}$/.test(chain)) throw refuse('a chain is no decimal text');
    if (!Array.isArray(calls) || calls.length === 0) throw refuse(`chain ${chain} has no calls`);
    return {
      chain,
      calls: calls.map((call: WalletCall | null) => {
        const { contract, selectors = ['0x'] } = call ?? {};
        if (contract !== undefined && !isAddress(contract)) throw refuse('a contract is no address');
        const isSound = (one: unknown) => typeof one === 'string' && /^0x(?:[0-9a-fA-F]{8})?$/.test(one);
        if (!Array.isArray(selectors) || selectors.length === 0 || !selectors.every(isSound)) {
          throw refuse('selectors must be of four bytes as 0x hexadecimal, or 0x');
        }
        return {
          contract: contract?.toLowerCase() ?? null,
          selectors: [...new Set(selectors.map((one) => one.toLowerCase()))].sort(),
        };
      }),
    };
  });
  if (new Set(rules.map(({ chain }) => chain)).size !== rules.length) throw refuse('two rules for one chain');
  return rules;
}

/** Makes `ctx.wallet`. */
export function toWalletContext(call: Caller, rules: readonly WalletRule[] = []): WalletContext {
  const only = rules.length === 1 ? rules[0]?.chain : undefined;
  return {
    async send(request, options = {}) {
      const args = toArgs(request, only);
      const receipt = (await sendApproved(call, args, options)) as WalletReceipt;
      if (receipt.status === '1') return receipt;
      throw Object.assign(failure('WALLET_REVERTED', `the contract refused transaction ${receipt.hash}`), { receipt });
    },
  };
}

/** Sends, and asks a person first where the policy says so. */
async function sendApproved(call: Caller, args: Args, { summary, timeoutMs = 0 }: WalletOptions): Promise<unknown> {
  try {
    return await call('wallet.send', args);
  } catch (error) {
    if (!needsApproval(error)) throw error;
  }
  const text = (summary ?? describe(args)).slice(0, 1000);
  const answer = await call('human.approve', { summary: text, details: { wallet: args }, timeoutMs });
  const { approved, note } = answer as { readonly approved: boolean; readonly note: string };
  if (!approved) throw failure('APPROVAL_REFUSED', note === '' ? 'a person refused it' : note);
  return call('wallet.send', args);
}

function needsApproval(error: unknown): boolean {
  const { code, message } = (error ?? {}) as { readonly code?: unknown; readonly message?: unknown };
  return code === 'CAPABILITY_DENIED' && typeof message === 'string' && message.endsWith('.approvalAbove');
}

function toArgs({ to, value = 0n, data = '0x', chain }: WalletRequest, only: string | undefined): Args {
  const id = chain ?? only;
  if (id === undefined) throw new TypeError('wallet: the tool declares several chains or none, so a chain is needed');
  if (!isAddress(to)) throw new TypeError('wallet: to is no address of 20 bytes');
  if (typeof data !== 'string' || !/^0x(?:[0-9a-fA-F]{2})*$/.test(data)) {
    throw new TypeError('wallet: data is no hexadecimal with 0x');
  }
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    throw new TypeError('wallet: a value beyond 2^53 - 1 wei must be a bigint or a text');
  }
  const wei = String(value);
  if (!/^(?:0|[1-9][0-9]{0,77})$/.test(wei)) throw new TypeError('wallet: value is no whole number of wei');
  return { chain: String(id), data: data.toLowerCase(), to: to.toLowerCase(), value: wei };
}

/** What the methods of tokens do, in words; others are named by their selector. */
const METHODS: Readonly<Record<string, string>> = {
  '0xa9059cbb': 'transfer',
  '0x095ea7b3': 'allow',
};

/** A call in plain words, for the person who decides. */
function describe({ chain, data, to, value }: Args): string {
  const where = `on chain ${chain}`;
  if (data === '0x') return `Pay ${value} wei to ${to} ${where}`;
  const besides = value === '0' ? '' : ` and pay ${value} wei to it`;
  const verb = METHODS[data.slice(0, 10)];
  if (verb !== undefined && data.length === 138) {
    const payee = `0x${data.slice(34, 74)}`;
    const units = BigInt(`0x${data.slice(74)}`);
    const what = verb === 'transfer' ? `Transfer ${units} units to ${payee}` : `Allow ${payee} to take ${units} units`;
    return `${what} of the token ${to} ${where}${besides}`;
  }
  return `Call ${data.slice(0, 10)} of ${to} ${where}${besides}`;
}

function isAddress(text: unknown): text is string {
  return typeof text === 'string' && /^0x[0-9a-fA-F]{40}$/.test(text);
}

function failure(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
