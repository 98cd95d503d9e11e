// @ts-check
// Records the console's live view under load, as it is in a real browser, into docs/media/console.webp:
//
//   node scripts/record-console.mjs [SECONDS]
//
// Needs what was built (`npm run build`), a Chromium (WEFT_CHROMIUM, or on the path) and img2webp (Debian: webp). Serves the demo
// from a temporary data directory on a free port.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inRoot, say } from './lib/checkout.mjs';
import { openBrowser, withDemo } from './lib/demo-browser.mjs';

const SECONDS = Number(process.argv[2] ?? 6);
const FRAME_MS = 125;
const WIDTH = 1200, HEIGHT = 820;
const BYTES_MAX = 4 * 2 ** 20;
const CLIENTS = 28;
const TENANTS = ['acme', 'globex', 'initech'];
const OUT = inRoot('docs', 'media', 'console.webp');

let over = false;
await withDemo(async ({ url, adminKey, folder }) => {
  say(`recording ${url}`);
  const load = makeLoad(url, adminKey);
  try {
    await record(url, adminKey, folder);
  } finally {
    over = true;
    await load;
  }
});

/** @param {string} url @param {string} adminKey @param {string} folder */
async function record(url, adminKey, folder) {
  const browser = await openBrowser();
  const page = await browser.newPage({ viewport: { width: WIDTH, height: HEIGHT }, colorScheme: 'dark' });
  await page.goto(`${url}/console/`);
  await page.getByLabel('API key').fill(adminKey);
  await page.keyboard.press('Enter');
  await page.getByRole('img', { name: /Memory map/ }).waitFor();
  await sleep(12_000);       // some of the weave is there to be seen
  /** @type {{ file: string, at: number }[]} */
  const shots = [];
  const session = await page.context().newCDPSession(page);
  session.on('Page.screencastFrame', ({ data, metadata: { timestamp = 0 }, sessionId }) => {
    void session.send('Page.screencastFrameAck', { sessionId });
    if (timestamp - (shots.at(-1)?.at ?? 0) < FRAME_MS / 1000) return;
    const file = join(folder, `${String(shots.length).padStart(4, '0')}.png`);
    writeFileSync(file, Buffer.from(data, 'base64'));
    shots.push({ file, at: timestamp });
  });
  await session.send('Page.startScreencast', { format: 'png' });
  await sleep(SECONDS * 1000);
  await session.send('Page.stopScreencast');
  const frames = shots.flatMap(({ file, at }, i) => ['-d', String(Math.round(((shots[i + 1]?.at ?? at + FRAME_MS / 1000) - at) * 1000)), file]);
  await browser.close();
  mkdirSync(inRoot('docs', 'media'), { recursive: true });
  for (const quality of [80, 65, 50, 35]) {
    execFileSync('img2webp', ['-loop', '0', '-lossy', '-q', String(quality), '-m', '4', ...frames, '-o', OUT], { stdio: 'ignore' });
    if (statSync(OUT).size <= BYTES_MAX) break;
  }
  const { size } = statSync(OUT);
  if (size > BYTES_MAX) throw new Error(`${OUT} has ${size} bytes; at most ${BYTES_MAX} are wanted: record fewer seconds`);
  say(`wrote ${OUT}: ${frames.length / 3} frames, ${size} bytes`);
}

/** Four tenants ask some forty adapters and the base, the first ones more often. @param {string} url @param {string} adminKey */
async function makeLoad(url, adminKey) {
  /** @type {{ tenants: { adapter: string }[], question: { messages: object[] } }} */
  const questions = JSON.parse(readFileSync(inRoot('demo', 'questions.json'), 'utf8'));
  const adapters = questions.tenants.slice(0, 40).map(({ adapter }) => adapter);
  /** @param {string} method @param {string} path @param {object} [body] @param {string} [tenant] */
  const ask = (method, path, body, tenant) => fetch(url + path, {
    method, headers: { 'authorization': `Bearer ${adminKey}`, 'content-type': 'application/json', ...(tenant && { 'x-weft-tenant': tenant }) }, ...(body && { body: JSON.stringify(body) }),
  });
  for (const name of TENANTS) {
    await ask('POST', '/v1/tenants', { name });
    for (const adapter of adapters) await ask('PUT', `/v1/adapters/${adapter}/shares/${name}`);
  }
  await Promise.all(Array.from({ length: CLIENTS }, async (_, client) => {
    while (!over) {
      const tenant = TENANTS[client % (TENANTS.length + 1)];
      const adapter = adapters[Math.floor(Math.random() ** 2 * adapters.length)];
      const model = Math.random() < 0.08 ? 'weft-demo' : tenant === undefined ? adapter : `default/${adapter}`;
      const response = await ask('POST', '/v1/chat/completions', { model, messages: questions.question.messages, max_tokens: 80 + Math.floor(Math.random() * 240), temperature: 1, ignore_eos: true }, tenant);
      await response.arrayBuffer();
      await sleep(Math.random() * 300);
    }
  }));
}
