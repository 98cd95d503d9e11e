/**
 * Each process is killed while uploads and streams are at every stage. What must hold: an upload is whole or not there, a stream
 * ends exactly once and within five seconds, and the usage rows are the executor's own counts, none lost and none doubled.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ADAPTERS, casesOf, Weft } from './weft.js';

const SERVICES = ['postgres', 'registry', 'gateway', 'executor'] as const;
type Killable = typeof SERVICES[number];
/** After the upload was accepted: ingestion of a tiny adapter takes some 100 ms. */
const UPLOAD_KILLS_MS = [0, 40, 120];
const STREAM_KILLS = [['before the first token', 0], ['in the middle', 60], ['near the end', 250]] as const;
const READY_MS_MAX = 20_000;
const STREAM_END_MS_MAX = 5000;
const FOLDER = join(ADAPTERS, 'r16-all');
const testCase = casesOf('r16-all')[0]!;

let weft: Weft;
let uploads = 0;
beforeAll(async () => { weft = await Weft.start(); });
afterAll(async () => { expect(await weft.stop()).toBe(0); });

const pidOf = (name: Killable): number => (name === 'postgres'
  ? Number(readFileSync(join(weft.dataDir, 'postgres', 'data', 'postmaster.pid'), 'utf8').split('\n', 1)[0])
  : weft.service(name));
const killedMs = new Map<Killable, number[]>(SERVICES.map(name => [name, []]));
const kill = (name: Killable): void => {
  killedMs.get(name)!.push(performance.now());
  process.kill(pidOf(name), 'SIGKILL');
};
/** The supervisor gives up on what dies five times in a minute. */
async function mayDie(name: Killable): Promise<void> {
  const fourth = killedMs.get(name)!.at(-4);
  if (fourth !== undefined) await new Promise(resolve => { setTimeout(resolve, Math.max(0, fourth + 61_000 - performance.now())); });
}

const get = async <T>(path: string, key = weft.key): Promise<{ status: number; body: T }> => {
  const response = await fetch(weft.url + path, { headers: { authorization: `Bearer ${key}` } });
  return { status: response.status, body: await response.json() as T };
};

/** A new adapter each time: blanks behind the configuration change its digest and nothing else. */
function freshFiles(): [string, Buffer][] {
  uploads++;
  return readdirSync(FOLDER).map(name => {
    const content = readFileSync(join(FOLDER, name));
    return [name, name === 'adapter_config.json' ? Buffer.concat([content, Buffer.alloc(uploads, ' ')]) : content];
  });
}

async function upload(name: string): Promise<Response> {
  const form = new FormData();
  form.append('name', name);
  for (const [file, content] of freshFiles()) form.append('files', new Blob([content]), file);
  return fetch(`${weft.url}/v1/adapters`, { method: 'POST', body: form, headers: { authorization: `Bearer ${weft.key}` } });
}

/** Serves again: the gateway answers, its registry answers, an executor runs. */
const recovered = (): Promise<void> => expect.poll(async () => {
  try {
    const { status } = await get('/v1/adapters/r16-all');
    const health = await fetch(`${weft.url}/health`);
    return [status, health.status];
  } catch {
    return [0, 0];
  }
}, { timeout: READY_MS_MAX, interval: 50 }).toEqual([200, 200]);

async function expectServed(name: string): Promise<void> {
  const response = await weft.post('/v1/completions', { model: name, prompt: testCase.prompt, max_tokens: 4, temperature: 0, ignore_eos: true, return_token_ids: true });
  const text = await response.text();
  expect(response.status, text).toBe(200);
  expect((JSON.parse(text) as { choices: { token_ids: number[] }[] }).choices[0]!.token_ids).toEqual(testCase.ids.slice(0, 4));
}

// Each process has its turn before the first has its second, so that little time is spent in waiting for one that may die again.
describe.each(UPLOAD_KILLS_MS)('%d ms after an upload was accepted', afterMs => {
  test.each(SERVICES)('%s is killed: it becomes ready all the same', { timeout: 120_000 }, async service => {
    await mayDie(service);
    const name = `${service}-${afterMs}`;
    const accepted = await upload(name);
    expect(accepted.status, await accepted.clone().text()).toBe(202);
    await new Promise(resolve => { setTimeout(resolve, afterMs); });
    const diedMs = performance.now();
    kill(service);
    await expect.poll(async () => {
      try { return (await get<{ status: string }>(`/v1/adapters/${name}/versions/1`)).body.status; } catch { return 'away'; }
    }, { timeout: READY_MS_MAX, interval: 50 }).toBe('ready');
    expect(performance.now() - diedMs).toBeLessThan(READY_MS_MAX);
    await recovered();
    await expectServed(name);
  });
});

describe('in the middle of an upload\'s body', () => {
  test.each(SERVICES)('%s is killed: it is whole or not there', { timeout: 120_000 }, async service => {
    await mayDie(service);
    const name = `${service}-body`;
    const boundary = 'weft-test';
    const parts = freshFiles().map(([file, content]) => Buffer.concat([Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="files"; filename="${file}"\r\n\r\n`), content, Buffer.from('\r\n')]));
    const body = Buffer.concat([Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="name"\r\n\r\n${name}\r\n`), ...parts, Buffer.from(`--${boundary}--\r\n`)]);
    const status = await new Promise<number>(resolve => {
      const sent = request(`${weft.url}/v1/adapters`, { method: 'POST', headers: { authorization: `Bearer ${weft.key}`, 'content-type': `multipart/form-data; boundary=${boundary}`, 'content-length': body.length } }, response => {
        response.resume().once('end', () => resolve(response.statusCode!)).once('error', () => resolve(0));
      });
      sent.once('error', () => resolve(0));
      sent.write(body.subarray(0, body.length >> 1));
      setTimeout(() => {
        kill(service);
        setTimeout(() => sent.end(body.subarray(body.length >> 1)), 100);
      }, 100);
    });
    await recovered();
    if (status === 202) {
      await expect.poll(async () => (await get<{ status: string }>(`/v1/adapters/${name}/versions/1`)).body.status, { timeout: READY_MS_MAX, interval: 50 }).toBe('ready');
      await expectServed(name);
    } else {
      expect((await get(`/v1/adapters/${name}`)).status).toBe(404);
      expect((await upload(name)).status).toBe(202);
    }
  });
});

describe.each(STREAM_KILLS)('while streams are %s', (_, afterMs) => {
  test.each(SERVICES)('%s is killed: each ends once, and every row is closed', { timeout: 150_000 }, async service => {
    await mayDie(service);
    // A gateway that was just started knows no key yet: without a registry it could not learn one.
    await expectServed('r16-all');
    await takeBaseline();
    const streams = Array.from({ length: 8 }, (_, i) => streamed(i % 2 === 0 ? 'r16-all' : 'base', 60 + 20 * i));
    await new Promise(resolve => { setTimeout(resolve, afterMs); });
    const diedMs = performance.now();
    kill(service);
    const ends = await Promise.all(streams);
    for (const { text, endedMs, broken } of ends) {
      const terminals = (text.match(/^data: \[DONE\]$/gm) ?? []).length + (text.match(/"error":/g) ?? []).length;
      // A killed gateway can tell nothing: its client sees the connection break.
      expect(terminals + Number(broken), text.slice(-400)).toBe(1);
      if (broken) expect(service).toBe('gateway');
      if (service === 'executor' && text.includes('"error":')) expect(endedMs - diedMs).toBeLessThan(STREAM_END_MS_MAX);
      if (service === 'postgres' || service === 'registry') expect(text).not.toContain('"error":');
    }
    await recovered();
    await expect.poll(reconciled, { timeout: 30_000, interval: 100 }).toEqual({ open: 0, submits: 0, generated: 0 });
  });
});

interface End { text: string; endedMs: number; broken: boolean }

async function streamed(model: string, tokens: number): Promise<End> {
  let text = '';
  let broken = false;
  try {
    const response = await weft.post('/v1/completions', { model, prompt: Array.from({ length: 64 }, (_, i) => 5 + (i % 40)), max_tokens: tokens, ignore_eos: true, stream: true });
    const decoder = new TextDecoder();
    for await (const bytes of response.body!) text += decoder.decode(bytes as Uint8Array, { stream: true });
  } catch {
    broken = true;
  }
  return { text, endedMs: performance.now(), broken };
}

interface Totals { requests: number; open: number; prompt_tokens: number; generated_tokens: number; status?: string }

async function usage(): Promise<Totals> {
  const { body } = await get<{ data: Totals[] }>('/v1/usage?group_by=status', weft.adminKey);
  const sum = (key: 'requests' | 'open' | 'prompt_tokens' | 'generated_tokens'): number => body.data.reduce((total, row) => total + row[key], 0);
  return { requests: sum('requests'), open: sum('open'), prompt_tokens: sum('prompt_tokens'), generated_tokens: sum('generated_tokens') };
}

interface Counts { id: string; submits: number; generated_tokens: number }
const executorCounts = async (): Promise<Counts> => (await get<{ data: Counts[] }>('/v1/executors', weft.adminKey)).body.data[0]!;

/** What is in rows of executors before the present one: a killed executor takes its counts along, and its successor begins with none. */
const baseline = { id: '', requests: 0, generated: 0 };

/** While nothing runs, and when the rows of what ran have arrived. */
async function takeBaseline(): Promise<void> {
  let last = '';
  await expect.poll(async () => {
    const rows = await usage();
    const settled = rows.open === 0 && JSON.stringify(rows) === last;
    last = JSON.stringify(rows);
    return settled;
  }, { timeout: 20_000, interval: 500 }).toBe(true);
  const [{ id, submits, generated_tokens: generated }, rows] = [await executorCounts(), await usage()];
  if (id !== baseline.id) Object.assign(baseline, { id, requests: rows.requests - submits, generated: rows.generated_tokens - generated });
}

/** How far rows are from what the executor counted, and those that are not closed. One that was killed can't be asked any more. */
async function reconciled(): Promise<{ open: number; submits: number; generated: number }> {
  const [{ id, submits, generated_tokens: generated }, rows] = [await executorCounts(), await usage()];
  if (id !== baseline.id) return { open: rows.open, submits: 0, generated: 0 };
  return { open: rows.open, submits: rows.requests - baseline.requests - submits, generated: rows.generated_tokens - baseline.generated - generated };
}
