/** The base's own experts, as its checkpoint has them, and whether an adapter's is the same. */
import { decode } from './float.js';
import { AdapterRefused } from './refused.js';
import { tensorChunks } from './safetensors.js';
import { DTYPE_BYTES, PROJECTIONS, type BaseTensors, type EsftExpert, type FloatDtype, type MoeBase, type Projection, type TensorRef } from './types.js';

/**
 * A matrix of an expert of the base: a tensor of its own, or a part of `experts.gate_up_proj` [E, 2I, H], `experts.down_proj` [E, H, I].
 * Undefined where the checkpoint has neither.
 */
export function baseExpert(tensors: BaseTensors, { layersModule, experts: { module, names, hidden, inner } }: MoeBase, layer: number, expert: number, projection: Projection): TensorRef<FloatDtype> | undefined {
  // Transformers 5 has the experts of every architecture here, whatever it was called before.
  const lists = [module, 'mlp.experts'].map(path => `${layersModule}.${layer}.${path}`);
  const find = (suffix: string): TensorRef<FloatDtype> | undefined => lists.map(list => tensors.get(`${list}.${suffix}`)).find(tensor => tensor) as TensorRef<FloatDtype> | undefined;
  const own = find(`${expert}.${names[projection]}.weight`);
  if (own) return own;
  const fused = find(projection === 'down' ? 'down_proj' : 'gate_up_proj');
  if (!fused) return undefined;
  const bytes = hidden * inner * DTYPE_BYTES[fused.dtype];
  const first = projection === 'down' ? expert : 2 * expert + (projection === 'up' ? 1 : 0);
  return { ...fused, shape: projection === 'down' ? [hidden, inner] : [inner, hidden], offset: fused.offset + first * bytes, bytes };
}

/** Whether all three matrices hold the base's values. Reads up to the first that differs. Throws AdapterRefused where the base has no such expert. */
export async function isBaseExpert(expert: EsftExpert, base: MoeBase, tensors: BaseTensors | undefined): Promise<boolean> {
  for (const projection of PROJECTIONS) {
    const own = expert[projection], of = tensors && baseExpert(tensors, base, expert.layer, expert.expert, projection);
    if (!of) {
      throw new AdapterRefused([{ code: 'adapter_tensor_unclaimed', message: `layer ${expert.layer}, expert ${expert.expert}: ${own.name} takes the place of a matrix that is no tensor of this base`, tensor: own.name }]);
    }
    if (!await sameValues(own, of)) return false;
  }
  return true;
}

/** A chunk of either dtype is one such unit (see `tensorChunks`): those of both tensors have equally many values. */
const CHUNK_VALUES = 1 << 17;

async function sameValues(a: TensorRef<FloatDtype>, b: TensorRef<FloatDtype>): Promise<boolean> {
  const others = tensorChunks(b, CHUNK_VALUES * DTYPE_BYTES[b.dtype]);
  const x = new Float32Array(CHUNK_VALUES), y = new Float32Array(CHUNK_VALUES);
  try {
    for await (const chunk of tensorChunks(a, CHUNK_VALUES * DTYPE_BYTES[a.dtype])) {
      const count = chunk.byteLength / DTYPE_BYTES[a.dtype], other = (await others.next()).value as Uint8Array;
      if (a.dtype === b.dtype) {
        if (Buffer.compare(chunk, other) !== 0) return false;
        continue;
      }
      decode(chunk, a.dtype, x);
      decode(other, b.dtype, y);
      for (let i = 0; i < count; i++) if (x[i] !== y[i]) return false;
    }
    return true;
  } finally {
    await others.return();
  }
}
