/** bf16 in 12 bits (native/core/bf12.h), coded value by value. */

const PAIR_BYTES = 96, NO_CODE = 7;

/** Where the low byte of value q of a pair of k stands, such that unpacking bytes within 128-bit lanes orders them. */
const lowByteOf = (q: number): number => Math.floor((q % 32) / 8) * 16 + Math.floor(q / 32) * 8 + (q % 8);

/** Panels of pairs [ceil(n/32)][ceil(k/2)][32][2] as panels of bf12. Throws where the exceptions of one don't fit. */
export function packBf12(pairs: Uint16Array, k: number): Uint8Array {
  const values = Math.ceil(k / 2) * 64, most = Math.ceil(k / 8);
  const streamAt = Math.ceil((32 + 4 * most) / 64) * 64, panelBytes = Math.ceil((streamAt + (values / 64) * PAIR_BYTES) / 64) * 64;
  const out = new Uint8Array((pairs.length / values) * panelBytes);
  for (let p = 0; p * values < pairs.length; p++) {
    const panel = out.subarray(p * panelBytes, (p + 1) * panelBytes), from = pairs.subarray(p * values, (p + 1) * values);
    const counts = new Uint32Array(128);
    for (const value of from) counts[(value >> 8) & 0x7f]!++;
    const coded = [...counts.keys()].filter(high => high > 0).sort((a, b) => counts[b]! - counts[a]! || a - b).slice(0, NO_CODE);
    coded.forEach((high, code) => { panel[code] = high; panel[code + 8] = high | 0x80; });
    panel[NO_CODE + 8] = 0x80;
    const exceptions: number[] = [];
    for (let i = 0; i < values / 64; i++) {
      for (const j of [0, 1]) {
        for (let output = 0; output < 32; output++) {
          const q = 2 * output + j, at = lowByteOf(q), value = from[i * 64 + q]!, high = (value >> 8) & 0x7f;
          const code = coded.includes(high) ? coded.indexOf(high) : NO_CODE;
          if (code === NO_CODE && high !== 0) exceptions.push(((2 * i + j) << 13) | (output << 8) | (value >> 8));
          const unit = streamAt + i * PAIR_BYTES;
          panel[unit + at] = value & 0xff;
          panel[unit + 64 + Math.floor(at / 32) * 16 + (at % 16)]! |= (((value >> 15) << 3) | code) << ((Math.floor(at / 16) % 2) * 4);
        }
      }
    }
    if (exceptions.length > most) throw new Error(`${exceptions.length} exceptions`);
    new Uint32Array(panel.buffer, p * panelBytes, streamAt / 4).set([exceptions.length], 4);
    new Uint32Array(panel.buffer, p * panelBytes, streamAt / 4).set(exceptions, 8);
  }
  return out;
}
