/**
 * Bundles: the script of one agent or tool, its manifest, and the digest that names both in a trace.
 *
 * @module
 */

import { type Hex, toHex } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import { canonicalBytes, type Json } from '../../attest/encoding/canonical-json.ts';

/** Code and data of one agent or tool. */
export type Bundle<Manifest> = {
  /** Script that sets `globalThis.__tracebond`. */
  readonly source: string;
  readonly digest: Hex;
  readonly manifest: Manifest;
};

/** SHA-256 of the canonical JSON `{"manifest": …, "source": …}`. */
export function bundleDigest(source: string, manifest: Json): Hex {
  return toHex(sha256(canonicalBytes({ manifest, source })));
}
