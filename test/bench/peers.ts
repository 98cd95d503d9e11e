/** The peers that are installed, each run as a process of its own that prints one line of JSON. */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import type { Figures, Workload } from './workloads.js';

export interface Peer {
  name: string;
  runs(w: Workload): boolean;
  whyNot(w: Workload): string;
  /** One measured round (after one that is not). Throws with the peer's last line when it fails. */
  round(w: Workload): Figures;
}

export interface PeerOptions { python: string; vllmPython: string; model: string; adapters: string[]; scratch: string; threads: number; only?: string[] | undefined }

export function findPeers(options: PeerOptions): { peers: Peer[]; absent: string[] } {
  const { python, only } = options;
  const vllmPython = options.vllmPython || python;
  const absent: string[] = [];
  const has = (interpreter: string, module: string): boolean => spawnSync(interpreter, ['-c', `import ${module}`], { stdio: 'ignore' }).status === 0;
  const wanted = (name: string): boolean => !only || only.some(o => name.toLowerCase().includes(o.toLowerCase()));
  const peers: Peer[] = [];
  const offer = (name: string, interpreter: string, module: string, make: () => Peer): void => {
    if (!wanted(name)) return;
    if (!interpreter) absent.push(`${name}: no Python given (--python or WEFT_BENCH_PYTHON)`);
    else if (has(interpreter, module)) peers.push(make());
    else absent.push(`${name}: ${basename(interpreter)} has no module ${module}`);
  };
  for (const weights of ['bf16', 'f16'] as const) offer(`llama.cpp ${weights}`, python, 'llama_cpp', () => llamaCpp(options, weights));
  for (const dtype of ['f32', 'bf16'] as const) offer(`peft ${dtype}`, python, 'peft', () => peft(options, dtype));
  offer('vllm bf16', vllmPython, 'vllm', () => vllm({ ...options, python: vllmPython }));
  return { peers, absent };
}

function peer({ python, threads }: PeerOptions, name: string, script: string, args: (w: Workload) => string[]): Peer {
  return {
    name, runs: () => true, whyNot: () => '',
    round(w) {
      const run = spawnSync(python, [resolve('test/bench/peers', script), ...args(w), '--workload', `${w.requests}-${w.kind}`, '--prompt', String(w.prompt),
        '--new', String(w.fresh), '--rounds', '1', '--threads', String(threads)], { encoding: 'utf8', env: { ...process.env, OMP_NUM_THREADS: String(threads) } });
      const line = run.stdout.trim().split('\n').at(-1) ?? '';
      if (run.status !== 0) throw new Error(`${name}: ${run.stderr.trim().split('\n').at(-1)}`);
      const { decode_tok_s: decode, prefill_tok_s: prefill, total_tok_s: total } = JSON.parse(line) as Record<string, number | null>;
      return { decode: decode ?? null, prefill: prefill ?? null, total: total ?? null };
    },
  };
}

function llamaCpp(options: PeerOptions, weights: 'bf16' | 'f16'): Peer {
  const out = join(options.scratch, `gguf-${weights}`), base = join(out, `base-${weights}.gguf`);
  mkdirSync(out, { recursive: true });
  const convert = (...args: string[]): void => {
    const run = spawnSync(options.python, [resolve('test/bench/peers/gguf_export.py'), '--base', options.model, '--type', weights, ...args], { encoding: 'utf8' });
    if (run.status !== 0) throw new Error(`export to GGUF: ${run.stderr.trim().split('\n').at(-1)}`);
  };
  convert('--out', base);
  if (options.adapters.length > 0) convert('--out', out, '--adapters', ...options.adapters);
  const lora = options.adapters.map(folder => join(out, `${basename(folder)}.gguf`));
  return peer(options, `llama.cpp ${weights}`, 'llama_cpp_peer.py', w => ['--model', base, ...(w.kind === 'base' ? [] : ['--lora', ...lora])]);
}

function peft(options: PeerOptions, dtype: 'f32' | 'bf16'): Peer {
  return peer(options, `peft ${dtype}`, 'peft_peer.py', w => ['--base', options.model, '--dtype', dtype, ...(w.kind === 'base' ? [] : ['--adapters', ...options.adapters])]);
}

function vllm(options: PeerOptions): Peer {
  return peer(options, 'vllm bf16', 'vllm_peer.py', w => ['--base', options.model, ...(w.kind === 'base' ? [] : ['--adapters', ...options.adapters])]);
}
