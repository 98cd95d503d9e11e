/** What values are worth: are they finite, and which 16-bit format holds them best. */
import { bf16Bits, f16Bits, F16_VALUES } from './float.js';
import type { StoredDtype } from './types.js';

/** Index of the first value that is not finite; -1: none. */
export function firstNotFinite(values: Float32Array, count: number): number {
  // x - x is 0 for every finite x and NaN for the rest.
  let sum = 0;
  for (let i = 0; i < count; i++) sum += values[i]! - values[i]!;
  return sum === 0 ? -1 : values.findIndex(value => !Number.isFinite(value));
}

/** Squared error of rounding f32 values to f16 and to bf16. */
export class RoundingLoss {
  #f16 = 0;
  #bf16 = 0;

  add(values: Float32Array): void {
    const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
    const asBf16 = new Uint32Array(1);
    const bf16Value = new Float32Array(asBf16.buffer);
    for (let i = 0; i < values.length; i++) {
      const toF16 = F16_VALUES[f16Bits(bits[i]!)]! - values[i]!;
      asBf16[0] = bf16Bits(bits[i]!) << 16;
      const toBf16 = bf16Value[0]! - values[i]!;
      this.#f16 += toF16 * toF16;
      this.#bf16 += toBf16 * toBf16;
    }
  }

  /**
   * f16 has three more bits and is what f32 becomes, unless values leave its range, or so many lie below its normal range
   * (6e-5) that bf16 loses less. Values that were bf16 before they were saved as f32 stay exact this way.
   */
  best(): StoredDtype | null {
    if (this.#f16 <= this.#bf16 && Number.isFinite(this.#f16)) return 'f16';
    return Number.isFinite(this.#bf16) ? 'bf16' : null;
  }
}
