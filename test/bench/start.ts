/**
 * How long a start takes: a checkpoint of 1.1B or 8B parameters that is made here, hashed and packed by a first start, read from
 * the packed cache by a second; each with the files in the page cache, and out of it.
 */
import { spawnSync } from 'node:child_process';
import { createWriteStream, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { createEngine } from '@weft/engine';

/** TinyLlama-1.1B's shape, and Llama-3.1-8B's. */
const SHAPES = {
  '1.1b': { hidden_size: 2048, intermediate_size: 5632, num_hidden_layers: 22, num_attention_heads: 32, num_key_value_heads: 4, vocab_size: 32_000 },
  '8b': { hidden_size: 4096, intermediate_size: 14_336, num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: 8, vocab_size: 128_256 },
} as const;
export type StartShape = keyof typeof SHAPES;
export const isStartShape = (name: string): name is StartShape => name in SHAPES;
type Config = (typeof SHAPES)[StartShape];
const POOL_BYTES = 64 * 2 ** 20;

function tensorShapes(config: Config): [string, number[]][] {
  const { hidden_size: h, intermediate_size: m, num_key_value_heads: kv, num_attention_heads: heads, vocab_size: v } = config;
  const kvSize = h / heads * kv;
  const layer = (i: number): [string, number[]][] => ([
    ['input_layernorm', [h]], ['self_attn.q_proj', [h, h]], ['self_attn.k_proj', [kvSize, h]], ['self_attn.v_proj', [kvSize, h]], ['self_attn.o_proj', [h, h]],
    ['post_attention_layernorm', [h]], ['mlp.gate_proj', [m, h]], ['mlp.up_proj', [m, h]], ['mlp.down_proj', [h, m]],
  ] as [string, number[]][]).map(([name, shape]) => [`model.layers.${i}.${name}.weight`, shape]);
  return [['model.embed_tokens.weight', [v, h]], ...Array.from({ length: config.num_hidden_layers }, (_, i) => layer(i)).flat(), ['model.norm.weight', [h]], ['lm_head.weight', [v, h]]];
}

/** Weights of ±1/128 … ±1/64: what they are takes no part in how long they take. */
async function makeCheckpoint(dir: string, config: Config): Promise<number> {
  mkdirSync(dir);
  writeFileSync(join(dir, 'config.json'), JSON.stringify({
    architectures: ['LlamaForCausalLM'], model_type: 'llama', ...config, max_position_embeddings: 2048, tie_word_embeddings: false, torch_dtype: 'bfloat16', eos_token_id: 2,
  }));
  let at = 0;
  const header: Record<string, unknown> = {};
  for (const [name, shape] of tensorShapes(config)) {
    const bytes = shape.reduce((product, size) => product * size, 2);
    header[name] = { dtype: 'BF16', shape, data_offsets: [at, at += bytes] };
  }
  const json = Buffer.from(JSON.stringify(header)), length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const block = Buffer.from(Uint16Array.from({ length: 2 ** 21 }, (_, i) => 0x3c00 | (i * 2654435761 >>> 16) & 0x807f).buffer);
  const out = createWriteStream(join(dir, 'model.safetensors'));
  const write = async (data: Buffer): Promise<void> => { if (!out.write(data)) await once(out, 'drain'); };
  await write(Buffer.concat([length, json]));
  for (let left = at; left > 0; left -= block.length) await write(block.subarray(0, Math.min(left, block.length)));
  out.end();
  await once(out, 'finish');
  return at;
}

/** Out of the page cache, as after a reboot. */
function evict(folder: string): void {
  for (const name of readdirSync(folder)) spawnSync('dd', [`if=${join(folder, name)}`, 'iflag=nocache', 'count=0']);
}

export async function benchStart(threads: number, shape: StartShape): Promise<void> {
  const scratch = mkdtempSync(join(process.env['WEFT_BENCH_SCRATCH'] ?? tmpdir(), 'weft-start-'));
  const model = join(scratch, 'model'), packed = join(scratch, 'weights');
  const start = async (what: string, cold: boolean, packedCache: boolean): Promise<void> => {
    spawnSync('sync');
    if (cold) for (const folder of [model, ...(packedCache ? [packed] : [])]) evict(folder);
    const startedAt = performance.now(), cpu = process.cpuUsage();
    let written!: () => void;
    const whenWritten = new Promise<void>(resolve => { written = resolve; });
    const host = await createEngine({
      modelDir: model, adapterCacheDir: join(scratch, 'adapters'), ...(packedCache && { packedCacheDir: packed }), threads, poolBytes: POOL_BYTES,
      listener: { onStep: () => undefined, onTerminal: () => undefined },
      log: line => {
        if (/^(model|packed)/.test(line)) console.log(`  ${what}: ${line}`);
        if (/written|nothing is kept/.test(line)) written();
      },
    });
    const seconds = (performance.now() - startedAt) / 1000, { user, system } = process.cpuUsage(cpu), { weightBytes } = host.model;
    const over = process.memoryUsage().rss - weightBytes - host.pool.total * host.pool.pageBytes;
    console.log(`${what}: ${seconds.toFixed(2)} s, ${(weightBytes / seconds / 1e9).toFixed(2)} GB/s, ${((user + system) / 1e6).toFixed(2)} s of processor time; ${(over / 2 ** 20).toFixed(0)} MiB resident beyond weights and pool`);
    if (what.startsWith('first')) await whenWritten;
    await host.close();
  };
  try {
    console.log(`checkpoint: ${((await makeCheckpoint(model, SHAPES[shape])) / 1e9).toFixed(2)} GB`);
    await start('first start', false, true);
    await start('packed again, digest known', false, false);
    await start('packed again, files out of the page cache', true, false);
    await start('second start', false, true);
    await start('second start, files out of the page cache', true, true);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
