#!/usr/bin/env node
/**
 * Does Weft answer token for token as transformers + PEFT do? Through its public API only.
 *
 *   node test/parity/run.mjs --model DIR/base --cases DIR [--tolerance 0.02] [--only NAME]...
 *                            [--may-refuse NAME:FIELD]... [-- OPTION_OF_START...]
 *
 * DIR is laid out as test/fixtures/README.md says: base.json, <adapter>.json, adapters/<adapter>/. Weft is started on
 * a free port in a temporary data directory, with every adapter folder served under its own name.
 *
 * 1. Every adapter is served, or, where --may-refuse names it, refused at start with a message that holds FIELD.
 * 2. Prompt and reference continuation are scored by echo (teacher forced); each log-probability is compared.
 * 3. All cases of all adapters are generated greedily in one mixed burst; ids are compared up to the first position
 *    whose margin to the runner-up is below 0.05.
 * 4. The same alone, one by one, and streamed: mixing must change neither an id nor the last digit of a log-probability.
 *
 * Exits 0 when nothing failed.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const REPO = fileURLToPath(new URL('../..', import.meta.url));
const BURST = 32;                   // requests in flight: enough for every adapter to share steps with others
const NEAR_TIE = 0.05;              // nats; another sound rounding may choose the runner-up below this
const START_MS_MAX = 900_000;       // a fresh clone installs and builds first
const STOP_MS_MAX = 60_000;
const REQUEST_MS_MAX = 300_000;

/** A running Weft: where and with which key, what it printed, and how to stop it. */
async function startWeft(model, adapters, extra) {
  const dataDir = await mkdtemp(join(tmpdir(), 'weft-parity-'));
  const child = spawn(process.execPath, ['scripts/weft.mjs', 'start', '--model', model, ...(adapters ? ['--adapters', adapters] : []),
    '--port', '0', '--data-dir', dataDir, '--no-demo', ...extra], { cwd: REPO, stdio: ['ignore', 'pipe', 'pipe'] });
  // Interrupted, this process goes on until the child's requests fail and `stop` has seen it exit: no orphan stays.
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => child.kill('SIGTERM'));
  const output = [];
  const exited = new Promise(done => child.once('exit', (code, signal) => done(code ?? signal)));
  const ready = new Promise(done => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', line => {
        output.push(line);
        if (line.startsWith('weft ready ')) done(true);
      });
    }
  });
  const stop = async () => {
    child.kill('SIGTERM');
    const code = await Promise.race([exited, after(STOP_MS_MAX, 'no exit')]);
    if (code === 'no exit') child.kill('SIGKILL');
    await rm(dataDir, { recursive: true, force: true });
    return code;
  };
  if (await Promise.race([ready, exited.then(() => false), after(START_MS_MAX, false)]) !== true) {
    await stop();
    throw new Error(`Weft did not become ready. Its last lines:\n${output.slice(-40).join('\n')}`);
  }
  const { url, tenantKey } = JSON.parse(await readFile(join(dataDir, 'credentials.json'), 'utf8'));
  return { url: url.replace(/\/$/, ''), key: tenantKey, output, stop };
}

const after = (ms, value) => new Promise(done => { setTimeout(done, ms, value).unref(); });

class Client {
  constructor({ url, key }) { Object.assign(this, { url, key }); }

  async request(path, body) {
    return fetch(this.url + path, {
      method: body ? 'POST' : 'GET', body: body && JSON.stringify(body), signal: AbortSignal.timeout(REQUEST_MS_MAX),
      headers: { authorization: `Bearer ${this.key}`, ...(body && { 'content-type': 'application/json' }) },
    });
  }

  async json(path, body) {
    const response = await this.request(path, body);
    const text = await response.text();
    if (!response.ok) throw new Error(`${path}: HTTP ${response.status} ${text.slice(0, 300)}`);
    return JSON.parse(text);
  }

  /** Log-probabilities of every token of prompt and continuation but the first. */
  async score(model, { prompt, ids }) {
    const answer = await this.json('/v1/completions', { model, prompt: [...prompt, ...ids], echo: true, max_tokens: 0, logprobs: 1, temperature: 0 });
    const values = answer.choices[0].logprobs.token_logprobs;
    if (values.length !== prompt.length + ids.length) throw new Error(`${values.length} log-probabilities for ${prompt.length + ids.length} tokens`);
    return values.slice(1);
  }

  async greedy(model, testCase) {
    return (await this.json('/v1/completions', greedyRequest(model, testCase))).choices[0].token_ids;
  }

  /** The same as server-sent events. */
  async streamed(model, testCase) {
    const response = await this.request('/v1/completions', { ...greedyRequest(model, testCase), stream: true });
    if (!response.ok) throw new Error(`stream: HTTP ${response.status} ${(await response.text()).slice(0, 300)}`);
    const events = (await response.text()).split(/\r?\n/).filter(line => line.startsWith('data:')).map(line => line.slice(5).trim());
    if (events.pop() !== '[DONE]') throw new Error('stream: it does not end in [DONE]');
    return events.map(event => JSON.parse(event)).flatMap(event => {
      if (event.error) throw new Error(`stream: ${event.error.message}`);
      return event.choices.flatMap(choice => choice.token_ids ?? []);
    });
  }
}

const greedyRequest = (model, { prompt, ids }) =>
  ({ model, prompt, max_tokens: ids.length, temperature: 0, return_token_ids: true, ignore_eos: true });

/** Runs `work` over `items`, at most `width` at a time; a rejection becomes an Error value in its place. */
async function each(items, width, work) {
  const results = new Array(items.length);
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const i = next++;
      results[i] = await work(items[i]).catch(error => error);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  return results;
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** The reference's log-probabilities aligned with `score`, or null where it has none. */
const reference = c => [...(c.prompt_logprobs ?? c.prompt.map(() => null)).slice(1), ...c.logprobs];

/** max |Δlogprob| over the positions that the reference has. NaN if an answer is no number, so that it fails. */
const distance = (values, testCase) =>
  reference(testCase).reduce((worst, want, i) => want === null ? worst : Math.max(worst, Math.abs(Number(values[i] ?? NaN) - want)), 0);

/** What is wrong with one case's four answers, or null. */
function findProblem(testCase, { mixed, alone, mixedScore, aloneScore, streamed }, tolerance) {
  for (const answer of [mixed, alone, mixedScore, aloneScore, streamed]) if (answer instanceof Error) return answer.message;
  if (!same(mixed, alone)) return `in a mixed batch ${mixed}, alone ${alone}`;
  if (!same(streamed, alone)) return `streamed ${streamed}, unstreamed ${alone}`;
  if (!same(mixedScore, aloneScore)) return 'log-probabilities differ between a mixed batch and alone';
  const off = distance(aloneScore, testCase);
  if (!(off <= tolerance)) return `a log-probability is off by ${off.toFixed(4)}`;
  const tie = testCase.margins.findIndex(margin => margin < NEAR_TIE);
  const safe = testCase.ids.slice(0, tie < 0 ? undefined : tie);
  const wrong = safe.findIndex((id, i) => id !== alone[i]);
  return wrong < 0 ? null : `token ${wrong} is ${alone[wrong]}, reference ${safe[wrong]}`;
}

/** Compares every case of every served name: Map from name to {problem, worst}. */
async function compare(client, served, casesOf, tolerance) {
  const jobs = [...served].flatMap(([name, model]) => casesOf.get(name).map((testCase, index) => ({ name, model, testCase, index })));
  const ask = (width, method) => each(jobs, width, job => client[method](job.model, job.testCase));
  const mixed = await ask(BURST, 'greedy'), mixedScore = await ask(BURST, 'score');
  const alone = await ask(1, 'greedy'), aloneScore = await ask(1, 'score'), streamed = await ask(1, 'streamed');
  const results = new Map([...served.keys()].map(name => [name, { problem: null, worst: 0 }]));
  jobs.forEach(({ name, testCase, index }, i) => {
    const answers = { mixed: mixed[i], alone: alone[i], mixedScore: mixedScore[i], aloneScore: aloneScore[i], streamed: streamed[i] };
    const problem = findProblem(testCase, answers, tolerance);
    const result = results.get(name);
    if (!(aloneScore[i] instanceof Error)) result.worst = Math.max(result.worst, distance(aloneScore[i], testCase));
    if (problem) result.problem ??= `case ${index}: ${problem}`;
  });
  return results;
}

async function main() {
  const { values } = parseArgs({ args: optionsBeforeDashes(process.argv.slice(2)), options: {
    model: { type: 'string' }, cases: { type: 'string' }, tolerance: { type: 'string', default: '0.02' },
    only: { type: 'string', multiple: true }, 'may-refuse': { type: 'string', multiple: true, default: [] },
  } });
  if (!values.model || !values.cases) throw new Error('usage: node test/parity/run.mjs --model DIR/base --cases DIR');
  const cases = resolve(values.cases), tolerance = Number(values.tolerance);
  const mayRefuse = new Map(values['may-refuse'].map(pair => pair.split(':')));
  const files = (await readdir(cases)).filter(file => file.endsWith('.json')).sort();
  const names = files.map(file => basename(file, '.json')).filter(name => !values.only || values.only.includes(name));
  if (names.length === 0) throw new Error(`no case files in ${cases}`);
  const casesOf = new Map();
  for (const name of names) casesOf.set(name, JSON.parse(await readFile(join(cases, `${name}.json`), 'utf8')));

  const weft = await startWeft(resolve(values.model), names.some(name => name !== 'base') && join(cases, 'adapters'), extraOptions());
  const verdicts = new Map();
  try {
    const client = new Client(weft);
    const models = (await client.json('/v1/models?limit=1000')).data;
    const served = new Map();
    for (const name of names) {
      const model = name === 'base' ? models.find(m => !m.parent)?.id : models.find(m => m.parent && m.id === name)?.id;
      if (model !== undefined) { served.set(name, model); continue; }
      const field = mayRefuse.get(name);
      const line = weft.output.find(text => text.includes(name) && field && text.includes(field)) ?? weft.output.find(text => text.includes(name));
      const honest = Boolean(field && line?.includes(field));
      verdicts.set(name, { status: honest ? 'refused' : 'FAIL', why: line?.trim() ?? 'not served, and nothing says why' });
    }
    for (const [name, { problem, worst }] of await compare(client, served, casesOf, tolerance)) {
      verdicts.set(name, { status: problem ? 'FAIL' : 'ok', why: problem ?? '', worst });
    }
  } finally {
    const code = await weft.stop();
    if (code !== 0) verdicts.set('shutdown', { status: 'FAIL', why: `SIGTERM ended Weft with ${code}, not 0` });
  }
  for (const [name, { status, why, worst }] of [...verdicts].sort(([a], [b]) => a < b ? -1 : 1)) {
    console.log(`${status.padEnd(8)} ${name.padEnd(24)} ${(worst === undefined ? '' : `max |Δlogprob| ${worst.toFixed(4)}`).padEnd(26)} ${why}`.trimEnd());
  }
  const failed = [...verdicts.values()].filter(v => v.status === 'FAIL').length;
  console.log(`${verdicts.size - failed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

const dashes = () => process.argv.indexOf('--');
const extraOptions = () => dashes() < 0 ? [] : process.argv.slice(dashes() + 1);
const optionsBeforeDashes = args => dashes() < 0 ? args : args.slice(0, dashes() - 2);

main().then(code => { process.exitCode = code; }, error => { console.error(error.message); process.exitCode = 1; });
