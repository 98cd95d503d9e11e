/** Every tensor of a checkpoint is claimed exactly once: nothing is missing, nothing is ignored. */
import type { TensorRef } from '@weft/adapters';
import { WeftError } from '@weft/contracts';

/** Buffers that old versions saved and that follow from the config. */
const RECOMPUTED = /(^|\.)rotary_emb\.inv_freq$/;
const FLOATS: ReadonlySet<string> = new Set(['BF16', 'F16', 'F32']);

export class TensorClaims {
  readonly #claimed = new Set<string>();
  constructor(readonly tensors: ReadonlyMap<string, TensorRef>) {}

  has(name: string): boolean { return this.tensors.has(name); }

  /** The tensor of this name, which must have this shape and hold floats. */
  take(name: string, shape: readonly number[]): TensorRef {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new WeftError('checkpoint_tensor_missing', `the checkpoint has no tensor ${name}; config.json wants it with shape [${shape.join(', ')}]`, { tensor: name });
    if (this.#claimed.has(name)) throw new WeftError('internal_error', `tensor ${name} is claimed twice`, { tensor: name });
    if (tensor.shape.length !== shape.length || tensor.shape.some((size, i) => size !== shape[i])) {
      throw new WeftError('checkpoint_tensor_shape', `tensor ${name} has shape [${tensor.shape.join(', ')}]; config.json wants [${shape.join(', ')}]`, { tensor: name, file: tensor.file });
    }
    if (!FLOATS.has(tensor.dtype)) {
      throw new WeftError('checkpoint_tensor_dtype', `tensor ${name} is ${tensor.dtype}; Weft reads ${[...FLOATS].join(', ')}`, { tensor: name, file: tensor.file });
    }
    this.#claimed.add(name);
    return tensor;
  }

  /** Throws checkpoint_tensor_extra for the first tensor that nobody took. */
  finish(): void {
    const extra = [...this.tensors.values()].filter(({ name }) => !this.#claimed.has(name) && !RECOMPUTED.test(name));
    const [first] = extra;
    if (!first) return;
    const more = extra.length > 1 ? ` (and ${extra.length - 1} more)` : '';
    throw new WeftError('checkpoint_tensor_extra',
      `tensor ${first.name} [${first.shape.join(', ')}] has no place in the model that config.json describes${more}`, { tensor: first.name, file: first.file });
  }
}
