/**
 * Binary16 numbers in byte strings, widened to binary32 without any rounding (IEEE 754 §3.4).
 *
 * @module
 */

let table: Float32Array | undefined;

/** All 65,536 binary16 values by their bits; made on first use. */
export function halves(): Float32Array {
  if (table !== undefined) return table;
  table = new Float32Array(65_536);
  for (let bits = 0; bits < 65_536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) table[bits] = fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    else if (exponent === 0) table[bits] = sign * fraction * 2 ** -24;
    else table[bits] = sign * (1024 + fraction) * 2 ** (exponent - 25);
  }
  return table;
}

/** The 16 bits at a byte, little-endian. */
export function halfAt(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
}

/** The binary32 of a binary16, exactly. */
export function halfToFloat(half: number): number {
  return halves()[half & 0xffff] as number;
}
