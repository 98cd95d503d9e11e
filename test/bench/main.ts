/**
 * `npm run bench`: Weft beside the peers that are installed, in one run, in turn: every figure that we hold ourselves to,
 * its aim, and what bounds it. Ratios are of medians; ranges are those of the rounds. usage.ts says what it takes.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { createCpuDevice } from '@weft/kernels';
import { makeAdapters } from './adapters.js';
import { benchExperts } from './experts.js';
import { measureExtras, PARTS, type ExtraOptions } from './extras.js';
import { benchGateway } from './gateway/main.js';
import { hostShare } from './host-share.js';
import { runKernelBench } from './machine.js';
import { residentMemory } from './memory.js';
import { findPeers } from './peers.js';
import { markdown, plain, Report, type Line } from './report.js';
import { benchStart, isStartShape } from './start.js';
import { runSuite } from './suite.js';
import { tune } from './tune.js';
import { USAGE } from './usage.js';
import { parseMode, WeftContender } from './weft.js';
import { parseWorkload, spread } from './workloads.js';

const env = process.env;
const root = env['INIT_CWD'] ?? process.cwd();
const fail = (message: string): never => { console.error(message); process.exit(2); };
function sure<T>(work: () => T): T { try { return work(); } catch (error) { return fail((error as Error).message); } }
const { values, positionals } = sure(() => parseArgs({
  allowPositionals: true,
  options: {
    help: { type: 'boolean', short: 'h', default: false },
    model: { type: 'string', default: env['WEFT_SMOLLM2'] ?? '' }, python: { type: 'string', default: env['WEFT_BENCH_PYTHON'] ?? '' },
    portkey: { type: 'string', default: env['WEFT_BENCH_PORTKEY'] ?? '' }, litellm: { type: 'string', default: env['WEFT_BENCH_LITELLM'] ?? '' },
    'vllm-python': { type: 'string', default: env['WEFT_BENCH_VLLM_PYTHON'] ?? '' }, 'llama-server': { type: 'string', default: env['WEFT_BENCH_LLAMA_SERVER'] ?? '' },
    workloads: { type: 'string' }, modes: { type: 'string', default: 'reference,bf16,int8' }, isa: { type: 'string' }, peers: { type: 'string' }, only: { type: 'string' },
    prompt: { type: 'string', default: '64' }, new: { type: 'string' }, rounds: { type: 'string' }, quick: { type: 'boolean', default: false },
    threads: { type: 'string', default: String(Math.min(2, cpus().length)) }, timeout: { type: 'string', default: '300' }, pool: { type: 'string', default: '1536' },
    adapters: { type: 'string' }, client: { type: 'string', default: 'bare' }, cache: { type: 'string' }, json: { type: 'string' }, markdown: { type: 'string' },
  },
}));
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}
function number(name: 'prompt' | 'new' | 'rounds' | 'threads' | 'timeout' | 'pool', otherwise?: number): number {
  const value = Number(values[name] ?? otherwise);
  return Number.isInteger(value) && value > 0 ? value : fail(`--${name} is a positive integer`);
}
function list(name: 'workloads' | 'modes' | 'isa' | 'only' | 'peers', otherwise = ''): string[] { return (values[name] ?? otherwise).split(',').filter(Boolean); }
function write(path: string | undefined, content: string): void {
  if (path === undefined) return;
  const file = resolve(root, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
}

const client = values.client === 'bare' || values.client === 'openai' ? values.client : fail('--client is bare or openai');
const command = positionals[0] ?? 'all', { quick } = values;
const threads = number('threads'), rounds = number('rounds', quick ? 3 : 5), fresh = number('new', 32), prompt = number('prompt');
const COMMANDS = ['all', 'machine', 'kernels', 'tune', 'host', 'gateway', 'start', 'http', 'memory', 'experts'];
if (!COMMANDS.includes(command)) fail(`bench ${command}: expected ${COMMANDS.slice(1).join(', ')}, or nothing`);
const parts = command === 'http' ? ['http'] : list('only', `workloads,${PARTS.join(',')}`);
for (const part of parts) if (part !== 'workloads' && !(PARTS as readonly string[]).includes(part)) fail(`--only ${part}: expected workloads, ${PARTS.join(', ')}`);

if (command === 'memory') {
  console.log(JSON.stringify(residentMemory({ model: values.model, adapters: values.adapters!, threads, poolBytes: number('pool') * 2 ** 20, requests: 32, prompt, fresh })));
  process.exit(0);
}
console.log(`machine: ${cpus()[0]?.model ?? 'unknown'}, ${cpus().length} cores`);
if (command === 'start') {
  const shape = positionals[1] ?? '1.1b';
  if (!isStartShape(shape)) fail(`bench start ${shape}: expected 1.1b or 8b`);
  else await benchStart(threads, shape);
  process.exit(0);
}
if (command === 'experts') {
  const folder = mkdtempSync(join(tmpdir(), 'weft-bench-experts-'));
  try { await benchExperts(folder, threads, rounds, values.python, line => { console.log(line); }); } finally { rmSync(folder, { recursive: true, force: true }); }
  process.exit(0);
}
if (command === 'gateway') {
  await benchGateway({ portkey: values.portkey, litellm: values.litellm }, rounds);
  process.exit(0);
}
const best = bestIsa(), isas = list('isa', [...new Set([best, ...(best.startsWith('avx512') ? ['avx2'] : [])])].join(','));
if (command === 'machine' || command === 'kernels') {
  for (const isa of isas) for (const line of runKernelBench(isa, threads, command === 'kernels' ? '' : 'machine')) console.log(line);
  process.exit(0);
}
if (command === 'tune') {
  tune(isas[0]!, threads, resolve(root, values.json ?? 'weft-tuning.json'));
  process.exit(0);
}
if (command === 'host') {
  const { medianMs, p99Ms } = await hostShare();
  console.log(`host share of a step at 32 rows, 32 adapters (schedule, frame, commit): ${medianMs.toFixed(3)} ms, 99% below ${p99Ms.toFixed(3)} ms`);
  process.exit(0);
}
if (!values.model) fail('bench needs a base model: --model DIR or WEFT_SMOLLM2=DIR (test/fixtures/README.md says how to make one)');
const model = resolve(root, values.model);
if (!existsSync(join(model, 'config.json'))) fail(`${model} holds no config.json`);

const scratch = mkdtempSync(join(tmpdir(), 'weft-bench-data-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
const cache = values.cache === undefined ? join(scratch, 'peers') : resolve(root, values.cache);
const names = `1-base,8-base,32-base,8-distinct,32-distinct,32-one,prefill-512${quick ? '' : ',prefill-4096'}`;
const workloads = parts.includes('workloads') ? list('workloads', names).map(name => sure(() => parseWorkload(name, prompt, fresh))) : [];
const modes = list('modes').map(name => sure(() => parseMode(name)));

// ── who takes part ────────────────────────────────────────────────────────────────────────────────────────────────
const engine = { modelDir: model, threads, poolBytes: number('pool') * 2 ** 20 };
const ours: WeftContender[] = [], absent: string[] = [];
for (const isa of isas) {
  for (const mode of modes) {
    const name = `weft ${mode.name}${isa === isas[0] ? '' : ` ${isa}`}`;
    try { ours.push(await WeftContender.start({ ...mode, isa }, name, engine)); } catch (error) { absent.push(`${name}: ${(error as Error).message}`); }
  }
}
if (!ours[0]) fail(absent.join('\n'));
const { geometry, config } = ours[0].host.model;
const distinct = Math.max(parts.some(part => part !== 'workloads') ? 32 : 1, ...workloads.filter(w => w.kind === 'distinct').map(w => w.requests));
const adapters = makeAdapters(geometry, join(scratch, 'adapters'), distinct);
for (const weft of ours) await weft.addAdapters(adapters);
const peerOptions = { python: values.python, vllmPython: values['vllm-python'], model, adapters, cache, threads, only: values.peers?.split(','), timeout: number('timeout') };
const { peers, absent: absentPeers } = findPeers(peerOptions);
for (const line of [...absent, ...absentPeers]) console.log(`absent: ${line}`);

// ── figures ───────────────────────────────────────────────────────────────────────────────────────────────────────
const conditions = `prompt ${prompt}, ${fresh} new tokens, ${threads} threads, ${rounds} rounds; adapters all-linear of ranks 8, 16, 32, 64 in turn`;
console.log(conditions);
const sections: string[] = [];
const say = (title: string, table: string[][], ...below: string[]): void => {
  console.log(`\n${title}\n${plain(table)}${below.map(line => `\n${line}`).join('')}`);
  sections.push(`## ${title}\n\n${markdown(table)}\n${below.map(line => `\n${line}\n`).join('')}`);
};
const { lines, eventLoopMs, ceilings } = await runSuite(workloads, [...ours, ...peers], {
  rounds, threads,
  onWorkload(name: string, done: Line[], machine: string[]) { say(name, new Report(done, {}).table(name), ...machine); },
});
const extraOptions: ExtraOptions = { parts, ours, peers, adapters, cache, scratch, engine, rounds, prompt, fresh, longContext: Math.min(quick ? 2048 : 8192, config.maxPositions), python: values.python, llamaServer: values['llama-server'], client, isa: isas[0]!, lines };
const extras = { ...await measureExtras(extraOptions, say), ...(eventLoopMs.length > 0 && { eventLoopMs: spread(eventLoopMs)! }) };
const report = new Report(lines, extras);
say('Aims', report.aimTable());
if (extras.eventLoopMs) console.log(`\nevent loop: longest delay of a round ${extras.eventLoopMs.median.toFixed(1)} ms (median of rounds; worst ${extras.eventLoopMs.high.toFixed(1)} ms)`);
for (const weft of ours) await weft.shutDown();
const cpu = cpus()[0]?.model;
write(values.json, `${JSON.stringify({ date: new Date().toISOString(), cpu, conditions, absent: [...absent, ...absentPeers], ceilings, lines, extras, aims: report.aims() }, null, 1)}\n`);
write(values.markdown, `${cpu}, ${cpus().length} cores. ${conditions}.\n\n${sections.join('\n')}`);

function bestIsa(): string {
  const device = createCpuDevice({ threads: 1 });
  device.close();
  return device.isa;
}
