/** `npm run bench -- http`: the same work through HTTP, gateway, gRPC and ledger as in the engine alone, interleaved; and how soon an upload answers. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Contender } from './contender.js';
import { Load } from './gateway/load.js';
import { processorTime, type ProcessorTime } from './processes.js';
import { showSpread } from './report.js';
import { STREAM_CLIENTS } from './stream-client.js';
import { promptIds, type WeftContender } from './weft.js';
import { median, spread, type Spread, type Workload } from './workloads.js';

const UPLOADS = 5;

/** Tokens per second: decoding in the engine alone, through HTTP, and there with prefill; and of another server that took its turn. */
export interface HttpFigures { inside: Spread; through: Spread; total: Spread; other?: Spread }

export interface HttpBench { model: string; adapters: string; threads: number; rounds: number; workload: Workload; client: keyof typeof STREAM_CLIENTS; beside?: Contender | undefined }

/** `adapters` are in the engine of `weft` already. A server beside us gets every third round. */
export async function benchHttp(weft: WeftContender, { model, adapters, threads, rounds, workload, client, beside }: HttpBench): Promise<HttpFigures> {
  const dataDir = mkdtempSync(join(tmpdir(), 'weft-bench-http-'));
  const child = spawn(process.execPath, ['apps/cli/dist/main.js', 'up', '--model', model, '--adapters', adapters, '--threads', String(threads), '--port', '0', '--data-dir', dataDir], { stdio: ['ignore', 'pipe', 'inherit'] });
  const load = new Load();
  try {
    for await (const line of createInterface({ input: child.stdout })) if (line.startsWith('weft ready ')) break;
    child.stdout.resume();
    const { url, tenantKey } = JSON.parse(readFileSync(join(dataDir, 'credentials.json'), 'utf8')) as { url: string; tenantKey: string };
    const database = Number(readFileSync(join(dataDir, 'postgres/data/postmaster.pid'), 'utf8').split('\n', 1)[0]);
    const names = readdirSync(adapters).sort();
    const vocab = weft.host.model.config.vocab;
    const stream = STREAM_CLIENTS[client];
    const round = async (): Promise<{ decode: number; total: number; processors: ProcessorTime }> => {
      const began = performance.now();
      const firstAt: number[] = [], tokensAt: number[] = [];
      const processorsAt: ProcessorTime[] = [];
      let counted = 0, looking = 0;
      const look = (): void => {
        const before = ownProcessorTime(), times = processorTime([child.pid!, database]).set('client', before - looking);
        looking += ownProcessorTime() - before;
        processorsAt.push(times);
      };
      await Promise.all(Array.from({ length: workload.requests }, async (_, i) => {
        let started = false, left = workload.fresh;
        const body = { model: names[i], prompt: promptIds(i, workload.prompt, vocab), max_tokens: workload.fresh, temperature: 0, ignore_eos: true } as const;
        await stream({ url, key: tenantKey, body }, count => {
          const now = performance.now();
          if (!started && firstAt.push(now) === workload.requests) look();
          started = true;
          for (let n = count; n > 0; n--) tokensAt.push(now);
          left -= count;
          // All run from the last first token to the first last one.
          if (left === 0 && processorsAt.length === 1) { look(); counted = tokensAt.filter(at => at > Math.max(...firstAt)).length; }
        });
      }));
      const middle = Math.max(...firstAt), end = Math.max(...tokensAt);
      const [before, after] = processorsAt;
      const processors = new Map([...after ?? []].map(([name, ns]) => [name, (ns - (before?.get(name) ?? 0)) / 1000 / counted]));
      return { decode: tokensAt.filter(at => at > middle).length / ((end - middle) / 1000), total: tokensAt.length / ((end - began) / 1000), processors };
    };
    await weft.round(workload);
    await round();
    await beside?.open(workload);
    const inside: number[] = [], outside: number[] = [], totals: number[] = [], others: number[] = [];
    const processors = new Map<string, number[]>();
    for (let i = 0; i < rounds; i++) {
      inside.push((await weft.round(workload)).decode!);
      const through = await round();
      outside.push(through.decode);
      totals.push(through.total);
      for (const [name, us] of through.processors) processors.set(name, [...processors.get(name) ?? [], us]);
      if (beside) others.push((await beside.round()).total!);
    }
    console.log(`\n## ${workload.requests} streams on ${workload.requests} adapters, prompt ${workload.prompt}, ${workload.fresh} new tokens: decode tokens/s through HTTP ${showSpread(spread(outside))}, engine alone ${showSpread(spread(inside))}: ${(100 * median(outside) / median(inside)).toFixed(1)}%`);
    console.log(`processor time, µs for each token while all run: ${[...processors].map(([name, us]) => `${name} ${median(us).toFixed(0)}`).join(', ')} (client: ${client})`);

    const folder = join(adapters, names[1]!);
    const bytes = readdirSync(folder).reduce((sum, file) => sum + statSync(join(folder, file)).size, 0);
    const seconds: number[] = [];
    for (let i = 0; i < UPLOADS; i++) seconds.push(await uploadToFirstToken(url, tenantKey, folder, i, load));
    console.log(`\n## Upload of an adapter of ${(bytes / 2 ** 20).toFixed(1)} MiB to its first token: ${median(seconds).toFixed(2)} s (${Math.min(...seconds).toFixed(2)}–${Math.max(...seconds).toFixed(2)})`);
    return { inside: spread(inside)!, through: spread(outside)!, total: spread(totals)!, ...(beside && { other: spread(others)! }) };
  } finally {
    load.close();
    await beside?.close();
    child.kill('SIGTERM');
    await once(child, 'exit');
    rmSync(dataDir, { recursive: true, force: true });
  }
}

/** Nanoseconds of this process. */
function ownProcessorTime(): number {
  const { user, system } = process.cpuUsage();
  return 1000 * (user + system);
}

/** Blanks behind the configuration make it another adapter: nothing of it is stored, packed or loaded yet. */
async function uploadToFirstToken(url: string, key: string, folder: string, round: number, load: Load): Promise<number> {
  const form = new FormData();
  form.append('name', `fresh-${round}`);
  for (const file of readdirSync(folder)) {
    const content = readFileSync(join(folder, file));
    form.append('files', new Blob([file === 'adapter_config.json' ? Buffer.concat([content, Buffer.alloc(round + 1, ' ')]) : content]), file);
  }
  const began = performance.now();
  const accepted = await fetch(`${url}/v1/adapters`, { method: 'POST', body: form, headers: { authorization: `Bearer ${key}` } });
  if (!accepted.ok) throw new Error(await accepted.text());
  for (let status = ''; status !== 'ready';) {
    ({ status } = await (await fetch(`${url}/v1/adapters/fresh-${round}/versions/1`, { headers: { authorization: `Bearer ${key}` } })).json() as { status: string });
    if (status === 'failed') throw new Error('the adapter was refused');
    if (status !== 'ready') await new Promise(wake => { setTimeout(wake, 10); });
  }
  const body = JSON.stringify({ model: `fresh-${round}`, prompt: [100, 101, 102], max_tokens: 1, stream: true });
  let firstAt = NaN;
  await load.shoot({ url, path: '/v1/completions', headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' }, body }, () => { if (Number.isNaN(firstAt)) firstAt = performance.now(); });
  return (firstAt - began) / 1000;
}
