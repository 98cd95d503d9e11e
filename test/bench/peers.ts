/** The peers that are installed. Each runs as a process of its own, one for a workload, and gives a round when it is asked. */
import { spawn, spawnSync, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Contender } from './contender.js';
import type { Figures, Workload } from './workloads.js';

export interface PeerOptions {
  python: string; vllmPython: string;
  model: string; adapters: string[];
  /** Where exports of the model are kept. */
  cache: string;
  threads: number;
  /** Parts of names; peers that no part is of are left out. */
  only?: string[] | undefined;
  /** Seconds for a round, and for starting with one. */
  timeout: number;
}

/** What differs between peers: whether the interpreter has it, how its files are made, and its arguments. */
interface Program { name: string; interpreter: string; module: string; script: string; suits?(w: Workload): boolean; args(w: Workload): string[] }

export function findPeers(options: PeerOptions): { peers: Contender[]; absent: string[] } {
  const { only } = options;
  const absent: string[] = [], peers: Contender[] = [];
  for (const program of programs(options)) {
    const { name, interpreter, module } = program;
    if (only && !only.some(part => name.includes(part.toLowerCase()))) continue;
    if (!interpreter) absent.push(`${name}: no Python given (--python or WEFT_BENCH_PYTHON)`);
    else if (spawnSync(interpreter, ['-c', `import importlib.util as u, sys; sys.exit(u.find_spec(${JSON.stringify(module)}) is None)`]).status !== 0) absent.push(`${name}: ${basename(interpreter)} has no module ${module}`);
    else peers.push(new Peer(program, options));
  }
  return { peers, absent };
}

function programs(options: PeerOptions): Program[] {
  const { python: interpreter, model, adapters, threads: _threads } = options;
  const files = new Exports(options);
  const some = (w: Workload, flag: string, list: () => string[]): string[] => (w.kind === 'base' ? [] : [flag, ...list()]);
  return [
    ...(['f16', 'bf16', 'q8_0'] as const).map((weights): Program => ({
      name: `llama.cpp ${weights}`, interpreter, module: 'llama_cpp', script: 'llama_cpp_peer.py',
      args: w => ['--model', files.gguf(weights), ...some(w, '--lora', () => files.ggufAdapters(weights))],
    })),
    {
      name: 'openvino bf16', interpreter, module: 'openvino_genai', script: 'openvino_peer.py',
      args: w => ['--model', files.openvino(), ...some(w, '--adapters', () => adapters)],
    },
    {
      name: 'vllm bf16', interpreter: options.vllmPython || interpreter, module: 'vllm', script: 'vllm_peer.py',
      args: w => ['--base', model, ...some(w, '--adapters', () => adapters)],
    },
    // Slow, and the best at nothing: where nobody asked for it, once.
    ...(['f32', 'bf16'] as const).map((dtype): Program => ({
      name: `peft ${dtype}`, interpreter, module: 'peft', script: 'peft_peer.py', suits: w => w.name === '8-distinct',
      args: w => ['--base', model, '--dtype', dtype, ...some(w, '--adapters', () => adapters)],
    })),
  ];
}

/** The model in the peers' own formats, made when they are first asked for. */
export class Exports {
  constructor(readonly options: Pick<PeerOptions, 'python' | 'model' | 'adapters' | 'cache'>) {}

  gguf(weights: 'f16' | 'bf16' | 'q8_0'): string {
    const out = join(this.#folder('gguf'), `base-${weights}.gguf`);
    if (existsSync(out)) return out;
    if (weights === 'q8_0') this.#make('gguf_quantize.py', '--model', this.gguf('bf16'), '--out', out);
    else this.#make('gguf_export.py', '--base', this.options.model, '--type', weights, '--out', out);
    return out;
  }

  /** Under 8-bit weights adapters are f16, as they are for everybody. */
  ggufAdapters(weights: 'f16' | 'bf16' | 'q8_0'): string[] {
    const { model, adapters } = this.options;
    const type = weights === 'q8_0' ? 'f16' : weights, folder = this.#folder(`gguf/adapters-${type}`);
    const missing = adapters.filter(path => !existsSync(join(folder, `${basename(path)}.gguf`)));
    if (missing.length > 0) this.#make('gguf_export.py', '--base', model, '--type', type, '--out', folder, '--adapters', ...missing);
    return adapters.map(path => join(folder, `${basename(path)}.gguf`));
  }

  openvino(): string {
    const out = join(this.options.cache, 'openvino');
    if (!existsSync(join(out, 'openvino_model.bin'))) this.#make('openvino_export.py', '--base', this.options.model, '--out', out);
    return out;
  }

  #folder(name: string): string {
    const folder = join(this.options.cache, name);
    mkdirSync(folder, { recursive: true });
    return folder;
  }

  #make(script: string, ...args: string[]): void {
    const run = spawnSync(this.options.python, [resolve('test/bench/peers', script), ...args], { encoding: 'utf8' });
    if (run.status !== 0) throw new Error(`${script}: ${run.stderr.trim().split('\n').at(-1)}`);
  }
}

class Peer implements Contender {
  readonly name: string;
  #child: ChildProcessWithoutNullStreams | null = null;
  #lines: AsyncIterator<string> | null = null;
  #reader: Interface | null = null;
  #lastWords = '';

  constructor(readonly program: Program, readonly options: PeerOptions) { this.name = program.name; }

  suits(w: Workload): boolean { return this.options.only !== undefined || (this.program.suits?.(w) ?? true); }

  async open(w: Workload): Promise<string> {
    const { program: { interpreter, script, args }, options: { threads } } = this;
    const child = spawn(interpreter, [resolve('test/bench/peers', script), ...args(w), '--workload', `${w.requests}-${w.kind}`, '--prompt', String(w.prompt),
      '--new', String(w.fresh), '--threads', String(threads), '--on-demand'], { env: { ...process.env, OMP_NUM_THREADS: String(threads), HF_HUB_OFFLINE: '1' } });
    child.stderr.on('data', (text: Buffer) => { this.#lastWords = `${this.#lastWords}${String(text)}`.slice(-2000); });
    child.stdin.on('error', () => undefined);                        // it has ended: the missing answer tells
    this.#child = child;
    this.#reader = createInterface({ input: child.stdout });
    this.#lines = this.#reader[Symbol.asyncIterator]();
    return String((await this.#answer(line => 'ready' in line))['ready']);
  }

  async round(): Promise<Figures> {
    this.#child!.stdin.write('\n');
    const { decode_tok_s: decode, prefill_tok_s: prefill, total_tok_s: total } = await this.#answer(line => 'total_tok_s' in line) as Record<string, number | null>;
    return { decode: decode ?? null, prefill: prefill ?? null, total: total ?? null };
  }

  /** Libraries print what they like: the next line that is an answer. */
  async #answer(is: (line: object) => boolean): Promise<Record<string, unknown>> {
    const late = new AbortController();
    const tooLate = sleep(this.options.timeout * 1000, undefined, { signal: late.signal }).then(() => { throw new Error(`no answer in ${this.options.timeout} s`); });
    try {
      for (;;) {
        const { value, done } = await Promise.race([this.#lines!.next(), tooLate]);
        if (done) throw new Error(this.#lastWords.trim().split('\n').at(-1) || 'ended without a word');
        const line = parsed(value);
        if (line && is(line)) return line;
      }
    } finally {
      tooLate.catch(() => undefined);
      late.abort();
    }
  }

  async close(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (!child) return;
    this.#reader!.close();
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
}

function parsed(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? value as Record<string, unknown> : null;
  } catch { return null; }
}
