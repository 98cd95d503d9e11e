/** What is measured beside the workloads: ops of a step, long contexts, a busy neighbour, memory, HTTP. */
import { basename, dirname, join } from 'node:path';
import { slowdown } from './busy.js';
import type { Contender } from './contender.js';
import { hostShare } from './host-share.js';
import { benchHttp, type HttpBench } from './http.js';
import { LlamaServer } from './llama-server.js';
import { measureCeilings } from './machine.js';
import { residentMemory } from './memory.js';
import { Exports } from './peers.js';
import type { Extras, Line } from './report.js';
import { meanStep, secondsOf, type OpTimes } from './traced.js';
import { parseMode, WeftContender, type WeftOptions } from './weft.js';
import { parseWorkload, spread } from './workloads.js';

export const PARTS = ['trace', 'busy', 'memory', 'http'] as const;

export interface ExtraOptions {
  parts: readonly string[];
  ours: readonly WeftContender[]; peers: readonly Contender[];
  adapters: string[]; cache: string; scratch: string;
  engine: WeftOptions; isa: string;
  rounds: number; prompt: number; fresh: number; longContext: number;
  python: string; llamaServer: string; client: HttpBench['client'];
  lines: readonly Line[];
}

type Say = (title: string, table: string[][], ...below: string[]) => void;

/** A part that fails is a line of its own; the others go on. */
export async function measureExtras(options: ExtraOptions, say: Say): Promise<Extras> {
  const extras: Extras = {};
  const work: Record<typeof PARTS[number], () => Promise<void>> = {
    trace: () => trace(options, extras, say), busy: () => busy(options, extras), memory: async () => memory(options, extras), http: () => http(options, extras),
  };
  for (const part of PARTS) {
    if (!options.parts.includes(part)) continue;
    try { await work[part](); } catch (error) { console.log(`\n${part} failed: ${(error as Error).message}`); }
  }
  return extras;
}

/** Every op of a step of 32 rows, and of one row at the end of a long context. */
async function trace({ engine, isa, adapters, scratch, prompt, fresh, longContext, lines }: ExtraOptions, extras: Extras, say: Say): Promise<void> {
  const before = measureCeilings(isa, engine.threads), traceFile = join(scratch, 'trace.json');
  const weft = await WeftContender.start({ ...parseMode('reference'), isa }, 'weft traced', { ...engine, traceFile });
  try {
    await weft.addAdapters(adapters);
    await weft.round(parseWorkload('32-distinct', prompt, fresh));
    await weft.round(parseWorkload(`long-${longContext}`, prompt, fresh));
  } finally { await weft.shutDown(); }
  const after = measureCeilings(isa, engine.threads), read = Math.max(before.read, after.read), fma = Math.max(before.fma, after.fma);
  // The long context came last: rows that were left alone before it don't count.
  const mixed = meanStep(traceFile, 32, fresh - 1), long = meanStep(traceFile, 1, fresh - 1);
  const below = `${before.line}; after: ${after.line.replace(/^.*: /, '')}`;
  say('A step of 32 rows on 32 adapters', opTable(mixed, read, fma), below);
  say(`A step of one row at ${longContext}`, opTable(long, read, fma), below);
  const attention = long.get('attention')!;
  extras.long = { context: longContext, attentionShare: attention.bytes / attention.seconds / read };
  const decode = spread(lines.find(l => l.workload.name === '32-distinct' && l.contender === 'weft reference')?.rounds.map(r => r.decode) ?? []);
  extras.rest = { hostSeconds: (await hostShare()).medianMs / 1000, sampleSeconds: mixed.get('sample')?.seconds ?? 0, stepSeconds: decode ? 32 / decode.median : secondsOf(mixed) };
}

function opTable(ops: OpTimes, read: number, fma: number): string[][] {
  const all = secondsOf(ops);
  return [
    ['op', 'ms', 'of the step', 'GB/s', 'of read', 'GFLOP/s', 'of peak'],
    ...[...ops].sort(([, a], [, b]) => b.seconds - a.seconds).filter(([, o]) => o.seconds > 0.001 * all).map(([name, { seconds, bytes, flops }]) => [
      name, (seconds * 1e3).toFixed(2), percent(seconds / all), (bytes / seconds / 1e9).toFixed(1), percent(bytes / seconds / read), (flops / seconds / 1e9).toFixed(0), percent(flops / seconds / fma),
    ]),
  ];
}

const percent = (share: number): string => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;

/** Ours, and llama.cpp as the fastest of those that share the cores by spinning. */
async function busy({ ours, peers, engine, rounds, prompt, fresh }: ExtraOptions, extras: Extras): Promise<void> {
  const workload = parseWorkload('32-base', prompt, fresh);
  extras.busy = [];
  for (const contender of [ours[0]!, ...peers.filter(p => p.name === 'llama.cpp f16')]) {
    try { extras.busy.push(await slowdown(contender, workload, rounds, engine.threads)); } catch (error) { console.log(`\nbusy: ${contender.name} failed: ${(error as Error).message}`); }
  }
}

function memory({ engine, adapters, prompt, fresh }: ExtraOptions, extras: Extras): void {
  const { modelDir, threads, poolBytes } = engine;
  extras.memory = residentMemory({ model: modelDir, adapters: dirname(adapters[0]!), threads, poolBytes, requests: 32, prompt, fresh });
}

async function http({ ours, engine, adapters, cache, rounds, prompt, fresh, python, llamaServer, client }: ExtraOptions, extras: Extras): Promise<void> {
  let beside: LlamaServer | undefined;
  if (!llamaServer) console.log('\nabsent: llama-server (--llama-server or WEFT_BENCH_LLAMA_SERVER)');
  else if (!python) console.log(`\nabsent: ${basename(llamaServer)}: its model needs a Python to be exported (--python or WEFT_BENCH_PYTHON)`);
  else {
    const files = new Exports({ python, model: engine.modelDir, adapters, cache });
    beside = new LlamaServer(llamaServer, files.gguf('f16'), files.ggufAdapters('f16'), ours[0]!.host.model.config.vocab, engine.threads);
  }
  const workload = parseWorkload('32-distinct', prompt, fresh);
  const { other, ...figures } = await benchHttp(ours[0]!, { model: engine.modelDir, adapters: dirname(adapters[0]!), threads: engine.threads, rounds, workload, client, beside });
  extras.http = { ...figures, ...(other && { llamaServer: other }) };
}
