/**
 * Twenty adapters that bring experts, each row its own, beside the base alone, beside what reading every distinct expert takes, and
 * beside transformers with the same adapters one after another. Base and adapters are made of random values: only their sizes matter.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createEngine, type EngineHost, type EngineRequest } from '@weft/engine';
import { OPS, Span, SPAN_WORDS } from '@weft/kernels';
import { Random } from '../sim/clock.js';
import { measureCeilings } from './machine.js';

const SIZES = { hidden: 1024, inner: 512, experts: 32, topK: 4, layers: 4, heads: 16, kvHeads: 4, headDim: 64, vocab: 4096 };
const ADAPTERS = 20, PROMPT = 32, NEW = 64;
/** Replaced experts of a layer. */
const TUNED = { least: 2, most: 8 };
const PEER_ADAPTERS = 3;

interface Run { stepMs: number; distinctBase: number; distinctAdapters: number }

/** Says each line when it is known. */
export async function benchExperts(folder: string, threads: number, python: string, say: (line: string) => void): Promise<void> {
  const model = writeBase(join(folder, 'base')), random = new Random(5);
  const adapters = Array.from({ length: ADAPTERS }, (_, i) => writeAdapter(join(folder, `adapter-${i}`), random, i));
  const host = await createEngine({
    modelDir: model, adapterCacheDir: join(folder, 'cache'), threads, depth: 1, poolBytes: 3 * 2 ** 30, maxModelLen: 256, listener: meter,
  });
  try {
    const loadStart = performance.now(), digests: string[] = [];
    for (const adapter of adapters) digests.push((await host.library.addFolder(adapter)).digest);
    const packMs = performance.now() - loadStart;
    const base = await measure(host, digests.map(() => [])), mixed = await measure(host, digests.map(digest => [digest]));
    const { read } = measureCeilings(host.device.isa, threads), { pages } = host.engine.load();
    const bytesOf = (run: Run): number => floorBytes(host, run), rate = (run: Run): string => `${(ADAPTERS / run.stepMs * 1000).toFixed(0)} tok/s`;
    const line = (name: string, run: Run): string => `${name}: ${rate(run)}, ${run.stepMs.toFixed(1)} ms a step; ${run.distinctBase.toFixed(1)} base and ${run.distinctAdapters.toFixed(1)} adapters' experts a layer; `
      + `floor ${(bytesOf(run) / read * 1000).toFixed(1)} ms (${(bytesOf(run) / 2 ** 20).toFixed(0)} MiB at ${(read / 1e9).toFixed(1)} GB/s), ${(bytesOf(run) / read * 1000 / run.stepMs * 100).toFixed(0)}% of it`;
    say(`${host.device.isa}, ${threads} threads; hidden ${SIZES.hidden}, inner ${SIZES.inner}, ${SIZES.layers} layers of ${SIZES.experts} experts, ${SIZES.topK} for each row; ${ADAPTERS} adapters, `
        + `${(pages.adapters * host.pool.pageBytes / 2 ** 20).toFixed(0)} MiB of experts, checked and packed in ${(packMs / 1000).toFixed(1)} s`);
    say(line('base alone, 20 rows', base));
    say(line('20 adapters, 20 rows', mixed));
    if (python) {
      const peer = spawnSync(python, [join(import.meta.dirname, 'peers/experts.py'), model, String(threads), String(PROMPT), String(NEW), ...adapters.slice(0, PEER_ADAPTERS)], { encoding: 'utf8' });
      if (peer.status !== 0) throw new Error(`peers/experts.py: ${peer.stderr.trim().slice(-2000)}`);
      for (const [dtype, tokensPerSecond] of Object.entries(JSON.parse(peer.stdout.trim().split('\n').at(-1)!) as Record<string, number>)) {
        say(`transformers ${dtype}, the same adapters one after another: ${tokensPerSecond.toFixed(1)} tok/s; Weft ${(ADAPTERS / mixed.stepMs * 1000 / tokensPerSecond).toFixed(1)}×`);
      }
    }
  } finally { await host.close(); }
}

// ── what runs ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** Times of steps in which all rows got a token. */
const meter = {
  left: 0, done: (): void => undefined, times: [] as number[],
  onStep(_: number, events: readonly unknown[]): void { if (events.length === ADAPTERS) this.times.push(performance.now()); },
  onTerminal({ error }: { error?: Error }): void { if (error) throw error; if (--this.left === 0) this.done(); },
};

async function measure(host: EngineHost, adapters: readonly string[][]): Promise<Run> {
  const spans = watchSpans(host), random = new Random(9);
  const round = async (): Promise<void> => {
    meter.times = [];
    meter.left = ADAPTERS;
    const done = new Promise<void>(resolve => { meter.done = resolve; });
    adapters.forEach((digests, i) => host.engine.submit(request(`r${i}`, digests, Array.from({ length: PROMPT }, () => random.int(0, SIZES.vocab - 1)))));
    await done;
  };
  await round();                                      // adapters are brought in
  spans.counts = [];
  const steps: number[] = [];
  for (let i = 0; i < 3; i++) {
    await round();
    steps.push(...meter.times.slice(1).map((time, j) => time - meter.times[j]!));
  }
  spans.stop();
  const mean = (pick: (c: { base: number; adapters: number }) => number): number => spans.counts.reduce((sum, c) => sum + pick(c), 0) / spans.counts.length;
  return { stepMs: steps.sort((a, b) => a - b)[steps.length >> 1]!, distinctBase: mean(c => c.base), distinctAdapters: mean(c => c.adapters) };
}

const request = (id: string, digests: readonly string[], prompt: number[]): EngineRequest => ({
  id, tenant: 't', adapters: digests.map(digest => ({ digest, weight: 1 })), task: 'generate', prompt, n: 1, maxTokens: NEW, minTokens: NEW,
  sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, seed: 0n, logitBias: [] },
  emitted: [], stopIds: [], logprobs: -1, promptLogprobs: false, priority: 0, deadlineMs: 0,
});

/** Experts of a step's last layer, as its spans are left behind; of steps of one row each. */
function watchSpans({ device }: EngineHost): { counts: { base: number; adapters: number }[]; stop(): void } {
  const submit = device.submit.bind(device), watch = { counts: [] as { base: number; adapters: number }[], stop: () => { device.submit = submit; } };
  const names = Object.keys(OPS.groupExperts.operands), params = 2 + 2 * names.length, param = (name: string): number => params + Object.keys(OPS.groupExperts.params).indexOf(name);
  device.submit = async (list, options) => {
    const result = await submit(list, options), { words } = list;
    let last = -1;
    for (let at = 0; at < words.length; at += words[at + 1]!) if (words[at] === OPS.groupExperts.code) last = at;
    const operand = last + 2 + 2 * names.indexOf('spans'), maxSpans = words[last + param('maxSpans')]!;
    const spans = new Int32Array(device.host(device.buffer(words[operand]!)), words[operand + 1]! * 4, maxSpans * SPAN_WORDS);
    let rows = 0, base = 0, adapters = 0;
    for (let s = 0; s < maxSpans && spans[s * SPAN_WORDS + Span.count]! > 0; s++) {
      rows += spans[s * SPAN_WORDS + Span.count]!;
      if (spans[s * SPAN_WORDS + Span.key]! < SIZES.experts) base++; else adapters++;
    }
    if (rows === ADAPTERS * SIZES.topK) watch.counts.push({ base, adapters });
    return result;
  };
  return watch;
}

/** What a step reads at least: everything dense, and every distinct expert once. */
function floorBytes({ model }: EngineHost, { distinctBase, distinctAdapters }: Run): number {
  const values = 3 * SIZES.hidden * SIZES.inner, adapter = values * 2, base = values * 1.5;       // bf12 is three quarters of bf16
  const dense = model.weightBytes - SIZES.layers * SIZES.experts * base - SIZES.vocab * SIZES.hidden * 2;   // nor the embedding, of which rows are read
  return dense + SIZES.layers * (distinctBase * base + distinctAdapters * adapter);
}

// ── what it runs on ───────────────────────────────────────────────────────────────────────────────────────────────

/** Values of ±0.008 to ±0.03 in bf16, two at a time. */
function randomBf16(values: number, seed: number): Uint8Array {
  const words = new Uint32Array(values / 2);
  let state = (seed * 2654435761) >>> 0 || 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13; state ^= state >>> 17; state ^= state << 5;
    words[i] = (state & 0x80ff80ff) | 0x3c003c00;
  }
  return new Uint8Array(words.buffer);
}

function writeTensors(file: string, tensors: readonly [name: string, shape: readonly number[]][], seed: number): void {
  const header: Record<string, unknown> = {}, data: Uint8Array[] = [];
  let at = 0;
  for (const [i, [name, shape]] of tensors.entries()) {
    const values = shape.reduce((a, b) => a * b, 1), bytes = name.includes('norm') ? new Uint8Array(new Uint16Array(values).fill(0x3f80).buffer) : randomBf16(values, seed + i);
    header[name] = { dtype: 'BF16', shape, data_offsets: [at, at += bytes.length] };
    data.push(bytes);
  }
  const json = JSON.stringify(header), text = Buffer.from(json + ' '.repeat((8 - json.length % 8) % 8)), length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(file, Buffer.concat([length, text, ...data]));
}

function writeBase(folder: string): string {
  const { hidden, inner, experts, topK, layers, heads, kvHeads, headDim, vocab } = SIZES;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), JSON.stringify({
    architectures: ['Qwen3MoeForCausalLM'], model_type: 'qwen3_moe', hidden_size: hidden, intermediate_size: inner, moe_intermediate_size: inner, num_experts: experts, num_experts_per_tok: topK,
    num_hidden_layers: layers, num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: headDim, vocab_size: vocab, norm_topk_prob: true, decoder_sparse_step: 1, mlp_only_layers: [],
    max_position_embeddings: 1024, rms_norm_eps: 1e-6, hidden_act: 'silu', rope_theta: 10000, rope_scaling: null, tie_word_embeddings: false, attention_bias: false, use_sliding_window: false,
    bos_token_id: 1, eos_token_id: 2, torch_dtype: 'bfloat16',
  }));
  const perLayer = Array.from({ length: layers }, (_, l): [string, number[]][] => [
    ['input_layernorm', [hidden]], ['post_attention_layernorm', [hidden]], ['self_attn.q_norm', [headDim]], ['self_attn.k_norm', [headDim]],
    ['self_attn.q_proj', [heads * headDim, hidden]], ['self_attn.k_proj', [kvHeads * headDim, hidden]], ['self_attn.v_proj', [kvHeads * headDim, hidden]], ['self_attn.o_proj', [hidden, heads * headDim]],
    ['mlp.gate', [experts, hidden]],
    ...Array.from({ length: experts }, (_, e): [string, number[]][] => expertShapes(e)).flat(),
  ].map(([name, shape]) => [`model.layers.${l}.${name as string}.weight`, shape as number[]] as [string, number[]]));
  writeTensors(join(folder, 'model.safetensors'), [['model.embed_tokens.weight', [vocab, hidden]], ['model.norm.weight', [hidden]], ['lm_head.weight', [vocab, hidden]], ...perLayer.flat()], 1);
  return folder;
}

const expertShapes = (expert: number): [string, number[]][] => (['gate', 'up', 'down'] as const).map(part =>
  [`mlp.experts.${expert}.${part}_proj`, part === 'down' ? [SIZES.hidden, SIZES.inner] : [SIZES.inner, SIZES.hidden]]);

function writeAdapter(folder: string, random: Random, index: number): string {
  mkdirSync(folder, { recursive: true });
  const tensors: [string, number[]][] = [], experts: Record<string, number[]> = {};
  for (let layer = 0; layer < SIZES.layers; layer++) {
    const ids = new Set<number>(), count = random.int(TUNED.least, TUNED.most);
    while (ids.size < count) ids.add(random.int(0, SIZES.experts - 1));
    experts[layer] = [...ids];
    for (const id of ids) tensors.push(...expertShapes(id).map(([name, shape]) => [`model.layers.${layer}.${name}.weight`, shape] as [string, number[]]));
  }
  writeFileSync(join(folder, 'expert_cfg.json'), JSON.stringify({ experts, shared_experts: false, non_expert_modules: false }));
  writeTensors(join(folder, 'model.safetensors'), tensors, 1000 * (index + 1));
  return folder;
}
