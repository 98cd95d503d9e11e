/**
 * What an adapter does to the outputs of a module beside adding scale·B(A x): DoRA's magnitudes, biases.
 *
 * PEFT, in eval:  y = g ⊙ (W x + scale·B(A x)) + bias,  g = magnitude / ‖row of W + scale·B·A‖;  without DoRA g is 1. The bias is
 * the base's, or the trained one. `lora_bias` adds its own inside B(·).
 * An embedding's weight is read the other way round: its outputs are W's columns.
 * Kernels find y = W x + base bias, so  y += h·y + (1 + h)·scale·B(A x) + c  with  h = g - 1,  c = bias - g·base bias + scale·bias of B.
 */
import { endWeight } from './end-rows.js';
import { decode } from './float.js';
import { AdapterRefused } from './refused.js';
import { tensorChunks } from './safetensors.js';
import { DTYPE_BYTES, modulePath, type BaseGeometry, type BaseTensors, type FloatDtype, type LoraManifest, type LoraModule, type Site, type TensorRef } from './types.js';

/** For each output. */
export interface OutputChange { h: Float32Array; c: Float32Array }

export const changesOutputs = ({ magnitude, bBias, bias }: Pick<LoraModule, 'magnitude' | 'bBias' | 'bias'>): boolean => !!(magnitude ?? bBias ?? bias);

/** Throws AdapterRefused where the base has not what the adapter changes. */
export async function outputChange(module: LoraModule, site: Site, manifest: LoraManifest, base: BaseGeometry, tensors: BaseTensors | undefined): Promise<OutputChange> {
  const path = modulePath(base, module.layer, site), { magnitude, bBias, bias, scale } = module;
  const own = (part: 'weight' | 'bias', cause: TensorRef): TensorRef<FloatDtype> => {
    const end = site.name === 'embed' || site.name === 'head' ? site.name : null;
    // What the adapter says of the base's matrix holds for it.
    const ofEnd = end && part === 'weight' ? manifest.ends.find(rows => rows.end === end)?.tensor ?? endWeight(base, end, tensors) : undefined;
    const tensor = ofEnd ?? tensors?.get(`${path}.${part}`);
    if (tensor) return tensor as TensorRef<FloatDtype>;
    throw new AdapterRefused([{ code: 'adapter_tensor_unclaimed', message: `${cause.name} changes ${path}.${part}, which is no tensor of this base`, tensor: cause.name }]);
  };
  const gains = magnitude ? await (site.name === 'embed' ? embeddingDora : dora)(module, magnitude, site, own('weight', magnitude)) : new Float64Array(site.dOut).fill(1);
  const baseBias = bias ? await values(own('bias', bias)) : await optional(tensors?.get(`${path}.bias`));
  const newBias = bias ? await values(bias) : baseBias, ofB = await optional(bBias);
  return {
    h: Float32Array.from(gains, gain => gain - 1),
    c: Float32Array.from(gains, (gain, o) => (newBias?.[o] ?? 0) - gain * (baseBias?.[o] ?? 0) + scale * (ofB?.[o] ?? 0)),
  };
}

/** g of each output, in f64 over the values as they were uploaded. */
async function dora({ a, b, rank, scale }: LoraModule, magnitude: TensorRef<FloatDtype>, { dIn, dOut }: Site, w: TensorRef<FloatDtype>): Promise<Float64Array> {
  const gains = Float64Array.from(await values(magnitude)), as = await values(a), bs = await values(b);
  const row = new Float64Array(dIn);
  let decoded = new Float32Array(0), o = 0;
  for await (const chunk of tensorChunks(w, dIn * DTYPE_BYTES[w.dtype])) {
    if (decoded.length === 0) decoded = new Float32Array(chunk.byteLength / DTYPE_BYTES[w.dtype]);
    const count = decode(chunk, w.dtype, decoded);
    for (let at = 0; at < count; at += dIn, o++) {
      row.set(decoded.subarray(at, at + dIn));
      for (let j = 0; j < rank; j++) addScaled(row, as, j * dIn, scale * bs[o * rank + j]!);
      gains[o]! /= notZero(Math.sqrt(sumOfSquares(row)), magnitude, o);
    }
    await new Promise(setImmediate);       // a large base takes seconds: others want to run
  }
  if (o !== dOut) throw new RangeError(`${w.name} has ${o} rows; ${dOut} are expected`);
  return gains;
}

/** The same over columns of W [tokens, outputs]. A [rank, tokens], B [outputs, rank]. */
async function embeddingDora({ a, b, rank, scale }: LoraModule, magnitude: TensorRef<FloatDtype>, { dIn, dOut }: Site, w: TensorRef<FloatDtype>): Promise<Float64Array> {
  const gains = Float64Array.from(await values(magnitude)), as = await values(a), bs = await values(b);
  const columnsOfB = Array.from({ length: rank }, (_, j) => Float32Array.from({ length: dOut }, (__, o) => bs[o * rank + j]!));
  const sums = new Float64Array(dOut), row = new Float64Array(dOut);
  let token = 0;
  for await (const chunk of tensorChunks(w, dOut * DTYPE_BYTES[w.dtype])) {
    const decoded = new Float32Array(chunk.byteLength / DTYPE_BYTES[w.dtype]), count = decode(chunk, w.dtype, decoded);
    for (let at = 0; at < count; at += dOut, token++) {
      row.set(decoded.subarray(at, at + dOut));
      for (let j = 0; j < rank; j++) addScaled(row, columnsOfB[j]!, 0, scale * as[j * dIn + token]!);
      for (let o = 0; o < dOut; o++) sums[o]! += row[o]! * row[o]!;
    }
    await new Promise(setImmediate);
  }
  if (token !== dIn) throw new RangeError(`${w.name} has ${token} rows; ${dIn} are expected`);
  return gains.map((gain, o) => gain / notZero(Math.sqrt(sums[o]!), magnitude, o));
}

function notZero(norm: number, magnitude: TensorRef, o: number): number {
  if (norm > 0) return norm;
  throw new AdapterRefused([{ code: 'adapter_tensor_not_finite', message: `${magnitude.name} scales output ${o}, where W + scale·B·A is zero`, tensor: magnitude.name }]);
}

function addScaled(row: Float64Array, from: Float32Array, at: number, factor: number): void {
  for (let i = 0; i < row.length; i++) row[i]! += factor * from[at + i]!;
}

function sumOfSquares(row: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += row[i]! * row[i]!;
  return sum;
}

const optional = async (tensor: TensorRef | null | undefined): Promise<Float32Array | null> => (tensor ? values(tensor as TensorRef<FloatDtype>) : null);

async function values(tensor: TensorRef<FloatDtype>): Promise<Float32Array> {
  const all = new Float32Array(tensor.bytes / DTYPE_BYTES[tensor.dtype]);
  let at = 0;
  for await (const chunk of tensorChunks(tensor)) at += decode(chunk, tensor.dtype, all.subarray(at, at + chunk.byteLength / DTYPE_BYTES[tensor.dtype]));
  return all;
}
