/**
 * What responses carry as `system_fingerprint`.
 *
 * @module
 */

import { fromHex, type Hex, toHex } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';

/** Equal for two servers exactly when model, numerics and engine are. */
export function fingerprintOf(identity: { readonly model: Hex; readonly profile: Hex; readonly engine: Hex }): string {
  const { model, profile, engine } = identity;
  return `fp_${toHex(sha256(fromHex(model), fromHex(profile), fromHex(engine))).slice(2, 22)}`;
}
