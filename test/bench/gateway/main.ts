/** `npm run bench -- gateway`: what stands between a client and an executor, measured in front of an executor that computes nothing. */
import { closeSync, fsyncSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createEngine } from '@weft/engine';
import { loadTokenizer } from '@weft/tokenizer';
import { median } from '../workloads.js';
import { DirectLink } from './direct.js';
import { closedLoop, Load, percentile, steady, type Shot, type Timing } from './load.js';
import { startPeers, type PeerPlaces } from './peers.js';
import { cpuSeconds, residentMiB, startServices, type Services, type SimulatedBase } from './services.js';

const MODEL = fileURLToPath(new URL('../../fixtures/models/llama-tiny/base', import.meta.url));
const ADAPTERS = fileURLToPath(new URL('../../fixtures/models/llama-tiny/adapters', import.meta.url));
/** The rate that is promised for, and one that leaves every contender room. */
const RATES = [500, 50];
const SECONDS = 5;
const WARM_SECONDS = 10;
const STREAMS = 256, STEP_MS = 20, STREAM_TOKENS = 400;
const UPLOAD_BYTES = 300 * 2 ** 20;
const CHAT = { messages: [{ role: 'user', content: 'Hello there' }], max_tokens: 32, ignore_eos: true, stream: true };

export async function benchGateway(places: PeerPlaces, rounds: number): Promise<void> {
  const base = await simulatedBase();
  await latency(base, places, rounds);
  await streams(base);
}

/** What an executor of the tiny model would say of it. */
async function simulatedBase(): Promise<SimulatedBase> {
  const cache = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  const host = await createEngine({ modelDir: MODEL, adapterCacheDir: cache, poolBytes: 16 * 2 ** 20, listener: { onStep: () => undefined, onTerminal: () => undefined } });
  const { geometry, config } = host.model;
  await host.close();
  rmSync(cache, { recursive: true });
  return { modelDir: MODEL, baseDigest: geometry.digest, vocabSize: config.vocab, geometry: JSON.stringify(geometry) };
}

const jsonHeaders = ({ key }: Services): Record<string, string> => ({ authorization: `Bearer ${key}`, 'content-type': 'application/json' });

async function latency(base: SimulatedBase, places: PeerPlaces, rounds: number): Promise<void> {
  const services = await startServices(base, 0);
  const load = new Load();
  try {
    const tokenizer = await loadTokenizer(MODEL);
    const prompt = await tokenizer.encodeChat(CHAT.messages as never, {});
    await tokenizer.close();
    const chat: Shot = { url: services.url, path: '/v1/chat/completions', headers: jsonHeaders(services), body: JSON.stringify({ model: 'sim', ...CHAT }) };
    const link = new DirectLink(services.executorAddress, services.linkToken, base.baseDigest);
    console.log(`\n## Added latency: ${RATES.join(' and ')} requests/s for ${SECONDS} s, 32-token chats, time to the first byte of the body, ${rounds} rounds\n`);
    for (const rate of RATES) await addedLatency('Weft', rounds, rate, () => load.shoot(chat), () => link.shoot(prompt, 32));
    link.close();
    const { peers, absent } = await startPeers(places);
    for (const line of absent) console.log(`absent: ${line}`);
    for (const { name, beyond, through, direct, stop } of peers) {
      for (const rate of RATES) {
        if (rate > beyond) console.log(`${name.padEnd(10)} ${String(rate).padStart(4)}/s  not asked: it falls behind`);
        else await addedLatency(name, rounds, rate, () => load.shoot(through), () => load.shoot(direct));
      }
      stop();
    }
    await modelLists(services, load);
    await bigUpload(services);
  } finally {
    load.close();
    await services.stop();
  }
}

async function addedLatency(name: string, rounds: number, rate: number, through: () => Promise<Timing>, direct: () => Promise<Timing>): Promise<void> {
  await steady(through, rate, WARM_SECONDS);                        // not counted: code is compiled as it is used
  const added: { p50: number; p99: number }[] = [];
  let failed = 0;
  const beganCpu = process.cpuUsage(), began = performance.now();
  for (let round = 0; round < rounds; round++) {
    const [a, b] = [await steady(direct, rate, SECONDS), await steady(through, rate, SECONDS)];
    failed += b.filter(({ status }) => status !== 200).length;
    const at = (timings: Timing[], share: number): number => percentile(timings.map(({ firstByteMs }) => firstByteMs).filter(ms => !Number.isNaN(ms)), share);
    added.push({ p50: at(b, 0.5) - at(a, 0.5), p99: at(b, 0.99) - at(a, 0.99) });
  }
  const { user, system } = process.cpuUsage(beganCpu);
  const own = (user + system) / 10 / (performance.now() - began);
  const show = (values: number[]): string => `${median(values).toFixed(2)} (${Math.min(...values).toFixed(2)}–${Math.max(...values).toFixed(2)})`;
  console.log(`${name.padEnd(10)} ${String(rate).padStart(4)}/s  added p50 ${show(added.map(({ p50 }) => p50))} ms, p99 ${show(added.map(({ p99 }) => p99))} ms; ${failed} failed; load generator ${own.toFixed(0)}% of a core`);
}

async function modelLists(services: Services, load: Load): Promise<void> {
  const names = Array.from({ length: 100 }, (_, i) => `tenant-${i}`);
  const folder = join(ADAPTERS, readdirSync(ADAPTERS)[0]!);
  for (const name of names) {
    const form = new FormData();
    form.append('name', name);
    for (const file of readdirSync(folder)) form.append('files', new Blob([readFileSync(join(folder, file))]), file);
    const response = await fetch(`${services.url}/v1/adapters`, { method: 'POST', body: form, headers: { authorization: `Bearer ${services.key}` } });
    if (!response.ok) throw new Error(await response.text());
  }
  for (;;) {
    const { data } = await (await fetch(`${services.url}/v1/models`, { headers: jsonHeaders(services) })).json() as { data: unknown[] };
    if (data.length === names.length + 1) break;
    await new Promise(resolve => { setTimeout(resolve, 50); });
  }
  const shot: Shot = { url: services.url, path: '/v1/models', headers: jsonHeaders(services), body: '' };
  const before = cpuSeconds(services.gateway.pid!), began = performance.now();
  const timings = await closedLoop(() => load.shoot(shot), 32, SECONDS);
  const seconds = (performance.now() - began) / 1000;
  const busy = cpuSeconds(services.gateway.pid!) - before;
  const good = timings.filter(({ status }) => status === 200).length;
  console.log(`\n## /v1/models of a tenant with 100 adapters: ${(good / seconds).toFixed(0)}/s with 32 clients; the gateway was busy ${(100 * busy / seconds).toFixed(0)}% of a core: ${(good / busy).toFixed(0)} a second of its processor time`);
}

/** A file of zeros under the weights' name, without a configuration: refused at its validation, before anything is read. What is measured is taking it in. */
async function bigUpload(services: Services): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'weft-bench-disk-'));
  const chunk = Buffer.alloc(2 ** 20);
  const diskSeconds = (): number => {
    const began = performance.now();
    const file = openSync(join(folder, 'plain'), 'w');
    for (let i = 0; i < UPLOAD_BYTES; i += chunk.length) writeSync(file, chunk);
    fsyncSync(file);
    closeSync(file);
    return (performance.now() - began) / 1000;
  };
  const processes = [services.gateway.pid!, services.registry.pid!];
  let peakMiB = 0;
  const ratios: number[] = [], rates: number[] = [];
  const restMiB = processes.map(residentMiB);
  const watch = setInterval(() => { peakMiB = Math.max(peakMiB, ...processes.map((pid, i) => residentMiB(pid) - restMiB[i]!)); }, 20);
  for (let round = 0; round < 3; round++) {
    const disk = diskSeconds();
    chunk[0] = round;                                               // other bytes, another digest
    const began = performance.now();
    await postFile(services, `big-${round}`, chunk, UPLOAD_BYTES / chunk.length);
    const seconds = (performance.now() - began) / 1000;
    ratios.push(disk / seconds);
    rates.push(UPLOAD_BYTES / 2 ** 20 / seconds);
  }
  clearInterval(watch);
  rmSync(folder, { recursive: true });
  console.log(`\n## Upload of 300 MiB: ${median(rates).toFixed(0)} MiB/s, ${median(ratios).toFixed(2)}× a plain write and fsync of as much (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}); gateway and registry grew by at most ${peakMiB.toFixed(0)} MiB`);
}

function postFile({ url, key }: Services, name: string, chunk: Buffer, count: number): Promise<void> {
  const boundary = 'weft-bench-boundary';
  const field = (head: string): string => `--${boundary}\r\nContent-Disposition: form-data; ${head}\r\n\r\n`;
  return new Promise((resolve, reject) => {
    const request = httpRequest(`${url}/v1/adapters`, { method: 'POST', headers: { authorization: `Bearer ${key}`, 'content-type': `multipart/form-data; boundary=${boundary}` } }, response => {
      let text = '';
      response.on('data', part => { text += String(part); });
      response.on('end', () => (response.statusCode === 202 ? resolve() : reject(new Error(`upload: ${response.statusCode} ${text}`))));
    });
    request.on('error', reject);
    void (async () => {
      request.write(`${field('name="name"')}${name}\r\n${field('name="files"; filename="adapter_model.safetensors"')}`);
      for (let i = 0; i < count; i++) if (!request.write(chunk)) await new Promise<void>(drained => { request.once('drain', drained); });
      request.end(`\r\n--${boundary}--\r\n`);
    })();
  });
}

async function streams(base: SimulatedBase): Promise<void> {
  const services = await startServices(base, STEP_MS);
  const load = new Load();
  try {
    const body = JSON.stringify({ model: 'sim', prompt: [100], max_tokens: STREAM_TOKENS, ignore_eos: true, stream: true, return_token_ids: true });
    const shot: Shot = { url: services.url, path: '/v1/completions', headers: jsonHeaders(services), body };
    const arrivals: { step: number; atMs: number }[] = [];
    const onData = (): ((chunk: Buffer) => void) => {
      let waiting = '';
      return chunk => {
        const atMs = performance.timeOrigin + performance.now();
        const events = (waiting + String(chunk)).split('\n\n');
        waiting = events.pop()!;
        for (const event of events) for (const [, ids] of event.matchAll(/"token_ids":\[([\d,]+)\]/g)) for (const id of ids!.split(',')) arrivals.push({ step: Number(id) - 100, atMs });
      };
    };
    const before = process.cpuUsage(), began = performance.now();
    await Promise.all(Array.from({ length: STREAMS }, () => load.shoot(shot, onData())));
    const { user, system } = process.cpuUsage(before);
    const own = (user + system) / 10 / (performance.now() - began);
    const sentAtMs = await services.steps();
    const cycle = Math.min(10_000, base.vocabSize - 100);
    // A token names its step modulo the cycle; the latest such step that had been sent by then is meant.
    const delays = arrivals.map(({ step, atMs }) => {
      let sent = NaN;
      for (let s = step; s < sentAtMs.length && sentAtMs[s]! <= atMs; s += cycle) sent = sentAtMs[s]!;
      return atMs - sent;
    });
    console.log(`\n## ${STREAMS} streams × ${1000 / STEP_MS} tokens/s: step to socket p50 ${percentile(delays, 0.5).toFixed(2)} ms, p99 ${percentile(delays, 0.99).toFixed(2)} ms over ${delays.length} tokens; load generator ${own.toFixed(0)}% of a core`);
  } finally {
    load.close();
    await services.stop();
  }
}
