/**
 * `npm run bench`: Weft beside the peers that are installed, interleaved in one run; medians and ranges.
 *
 *   npm run bench -- machine    only this machine's ceilings
 *   npm run bench -- kernels    every kernel beside those ceilings
 *   npm run bench -- host       only what the host does for a step
 *   npm run bench -- gateway    what stands between a client and an executor, beside Portkey and LiteLLM
 *   npm run bench -- http       32 streams through HTTP beside the engine alone, and an upload's way to its first token
 *
 *   WEFT_SMOLLM2=DIR            the base: a folder with the checkpoint (test/fixtures/README.md says how to make one)
 *   WEFT_BENCH_PYTHON=python    a Python with llama-cpp-python, torch + transformers + peft; peers it lacks are left out, by name
 *   WEFT_BENCH_PORTKEY=DIR      a folder in which `npm install @portkey-ai/gateway` was done
 *   WEFT_BENCH_LITELLM=DIR      a virtual environment in which `pip install 'litellm[proxy]'` was done
 *   WEFT_TEST_DATABASE_URL=     a PostgreSQL in which databases may be made (gateway)
 *   WEFT_BENCH_VLLM_PYTHON=python   a Python with vLLM, if that is another: it wants its own torch and transformers
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { makeAdapters } from './adapters.js';
import { benchGateway } from './gateway/main.js';
import { hostShare } from './host-share.js';
import { benchHttp } from './http.js';
import { createCpuDevice } from '@weft/kernels';
import { runKernelBench } from './machine.js';
import { findPeers, type Peer } from './peers.js';
import { WeftContender } from './weft.js';
import { median, parseWorkload, type Figures } from './workloads.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: 'string', default: process.env['WEFT_SMOLLM2'] ?? '' }, python: { type: 'string', default: process.env['WEFT_BENCH_PYTHON'] ?? '' },
    portkey: { type: 'string', default: process.env['WEFT_BENCH_PORTKEY'] ?? '' }, litellm: { type: 'string', default: process.env['WEFT_BENCH_LITELLM'] ?? '' },
    'vllm-python': { type: 'string', default: process.env['WEFT_BENCH_VLLM_PYTHON'] ?? '' },
    workloads: { type: 'string', default: '1-base,8-base,32-base,8-distinct,32-distinct,32-one' },
    prompt: { type: 'string', default: '64' }, new: { type: 'string', default: '32' }, rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: String(Math.min(2, cpus().length)) }, isa: { type: 'string' }, peers: { type: 'string' }, json: { type: 'string' },
  },
});
const root = process.env['INIT_CWD'] ?? process.cwd();
const fail = (message: string): never => { console.error(message); process.exit(2); };
const number = (name: 'prompt' | 'new' | 'rounds' | 'threads'): number => {
  const value = Number(values[name]);
  return Number.isInteger(value) && value > 0 ? value : fail(`--${name} is a positive integer`);
};

console.log(`machine: ${cpus()[0]?.model ?? 'unknown'}, ${cpus().length} cores`);
if (positionals[0] !== undefined && !['machine', 'kernels', 'host', 'gateway', 'http'].includes(positionals[0])) fail(`bench ${positionals[0]}: expected nothing, machine, kernels, host, gateway or http`);
if (positionals[0] === 'gateway') {
  await benchGateway({ portkey: values.portkey!, litellm: values.litellm! }, number('rounds'));
  process.exit(0);
}
const isa = values.isa ?? detectIsa();
const ceilings = runKernelBench(isa, number('threads'), positionals[0] === 'kernels' ? '' : 'machine');
for (const line of ceilings) console.log(line);
if (positionals[0] === 'machine' || positionals[0] === 'kernels') process.exit(0);
if (positionals[0] === 'host') {
  const { medianMs, p99Ms } = await hostShare();
  console.log(`host share of a step at 32 rows, 32 adapters (schedule, frame, commit): ${medianMs.toFixed(3)} ms, 99% below ${p99Ms.toFixed(3)} ms`);
  process.exit(0);
}
if (!values.model) fail('bench needs a base model: --model DIR or WEFT_SMOLLM2=DIR (test/fixtures/README.md says how to make one)');
const model = resolve(root, values.model!);
if (!existsSync(join(model, 'config.json'))) fail(`${model} holds no config.json`);

const scratch = mkdtempSync(join(tmpdir(), 'weft-bench-data-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
const workloads = (positionals[0] === 'http' ? '32-distinct' : values.workloads!).split(',').map(text => parseWorkload(text, number('prompt'), number('new')));
const distinct = Math.max(1, ...workloads.filter(w => w.kind !== 'base').map(w => (w.kind === 'one' ? 1 : w.requests)));
const weft = new WeftContender();
await weft.open(model, number('threads'), values.isa, undefined);
const adapters = makeAdapters(weft.host.model.geometry, join(scratch, 'adapters'), distinct);
await weft.addAdapters(adapters);
if (positionals[0] === 'http') {
  await benchHttp(weft, { model, adapters: dirname(adapters[0]!), threads: number('threads'), rounds: number('rounds'), workload: workloads.find(w => w.kind === 'distinct')! });
  await weft.close();
  process.exit(0);
}
const { peers, absent } = findPeers({ python: values.python!, vllmPython: values['vllm-python']!, model, adapters, scratch, threads: number('threads'), only: values.peers?.split(',') });
for (const line of absent) console.log(`absent: ${line}`);

const name = `weft ${weft.host.device.isa}`;
const delaysMs: number[] = [];
const rows: { workload: string; contender: string; figures: Figures[] }[] = [];
for (const w of workloads) {
  const text = `${w.requests}-${w.kind}`;
  const mine = { workload: text, contender: name, figures: [] as Figures[] };
  const theirs = peers.map(peer => ({ workload: text, contender: peer.name, figures: [] as Figures[], peer }));
  await weft.round(w);                                             // one that isn't counted, as the peers do
  for (let round = 0; round < number('rounds'); round++) {
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    mine.figures.push(await weft.round(w));
    delay.disable();
    delaysMs.push(delay.max / 1e6 - 1);
    for (const entry of theirs) if (entry.peer.runs(w)) entry.figures.push(entry.peer.round(w));
  }
  rows.push(mine, ...theirs.map(({ peer: _peer, ...row }) => row));
  print(mine, theirs);
}
const { model: loaded, pool, engine, device } = weft.host;
const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
console.log(`\nevent loop: longest delay of a round ${median(delaysMs).toFixed(1)} ms (median of rounds; worst ${Math.max(...delaysMs).toFixed(1)} ms)`);
console.log(`memory: ${mib(process.memoryUsage().rss)} resident; weights ${mib(loaded.weightBytes)}, pool ${mib(pool.total * pool.pageBytes)} (${pool.census().adapter} pages of adapters resident)`);
console.log(`adapter bytes read by kernels ${mib(device.stats().adapterBytesRead)}, copied ${device.stats().adapterBytesCopied}; ${engine.load().step} steps`);
await weft.close();
if (values.json) {
  const path = resolve(root, values.json);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify({ date: new Date().toISOString(), cpu: cpus()[0]?.model, ceilings, prompt: values.prompt, new: values.new, rows }, null, 1)}\n`);
}

function detectIsa(): string {
  const device = createCpuDevice({ threads: 1 });
  device.close();
  return device.isa;
}

function print(mine: { workload: string; contender: string; figures: Figures[] }, theirs: { contender: string; figures: Figures[]; peer: Peer }[]): void {
  console.log(`\n${mine.workload}  (prompt ${values.prompt}, ${values.new} new tokens, ${number('threads')} threads, ${values.rounds} rounds)`);
  const column = (figures: Figures[], key: keyof Figures): number[] => figures.map(f => f[key]).filter(v => v !== null);
  const show = (figures: Figures[], key: keyof Figures): string => {
    const v = column(figures, key);
    return v.length === 0 ? '-' : `${median(v).toFixed(1)} (${Math.min(...v).toFixed(1)}–${Math.max(...v).toFixed(1)})`;
  };
  const ratio = (other: Figures[], key: keyof Figures): string => {
    const a = column(mine.figures, key), b = column(other, key);
    return a.length && b.length ? `${(median(a) / median(b)).toFixed(2)}×` : '-';
  };
  const line = (...cells: string[]): void => console.log(cells.map((cell, i) => cell.padEnd(i === 0 ? 34 : 26)).join(''));
  line('', 'decode tokens/s', 'prefill tokens/s', 'weft ÷ it: decode, prefill');
  line(mine.contender, show(mine.figures, 'decode'), show(mine.figures, 'prefill'));
  for (const { contender, figures, peer } of theirs) {
    if (figures.length === 0) line(contender, `not run: ${peer.whyNot(parseWorkload(mine.workload, 1, 1))}`);
    else line(contender, show(figures, 'decode'), show(figures, 'prefill'), `${ratio(figures, 'decode')}, ${ratio(figures, 'prefill')}`);
  }
}
