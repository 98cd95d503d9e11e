/** The console in a real browser against a real Weft: every flow, from the sign-in on. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { findChromium, launch, signIn, violations } from './browser.js';
import { ADAPTERS, Weft } from './weft.js';

const FIRST_LOAD_BYTES_MAX = 200 * 1024;
const PAGES = ['/live', '/adapters', '/adapters/default/r16-all', '/upload', '/playground', '/usage', '/keys', '/tenants', '/jobs', '/executors', '/audit'];

const chrome = findChromium();
let weft: Weft, browser: Browser, context: BrowserContext, page: Page, scratch: string;
/** What the browser complained of, and what it asked of other servers. */
const complaints: string[] = [];

beforeEach(context => { if (chrome === undefined) context.skip('no Chromium: install one, or name it in WEFT_CHROMIUM'); });
beforeAll(async () => {
  if (chrome === undefined) return;
  scratch = mkdtempSync(join(tmpdir(), 'weft-console-'));
  [weft, browser] = await Promise.all([Weft.start(), launch(chrome)]);
  context = await browser.newContext({ viewport: { width: 1280, height: 900 }, permissions: ['clipboard-read', 'clipboard-write'] });
  page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on('console', message => { if (message.type() === 'error' && !/status of 4\d\d/.test(message.text())) complaints.push(message.text()); });
  page.on('pageerror', error => complaints.push(error.message));
  page.on('request', request => { if (!request.url().startsWith(weft.url) && !request.url().startsWith('blob:')) complaints.push(`asked ${request.url()}`); });
});
afterAll(async () => {
  await browser?.close();
  await weft?.stop();
  if (scratch !== undefined) rmSync(scratch, { recursive: true });
});

const go = async (path: string): Promise<void> => { await page.goto(`${weft.url}/console${path}`); await page.locator('h1').waitFor(); };
const admin = (method: string, path: string, body?: object): Promise<Response> =>
  fetch(weft.url + path, { method, headers: { 'authorization': `Bearer ${weft.adminKey}`, 'content-type': 'application/json' }, ...(body && { body: JSON.stringify(body) }) });

describe('the door', () => {
  test('the root leads to it; its policy lets nothing else in', async () => {
    const response = await fetch(`${weft.url}/`);
    expect(response.url).toBe(`${weft.url}/console`);
    const policy = response.headers.get('content-security-policy')!;
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/unsafe|data:|https?:/);
    expect(await response.text()).not.toMatch(/<script(?![^>]* src=)|<style| style=| on\w+=/);
  });

  test('the first load is small', async () => {
    const fresh = await browser.newPage();
    let bytes = 0;
    fresh.on('response', response => { void response.request().sizes().then(({ responseBodySize }) => { bytes += responseBodySize; }); });
    await signIn(fresh, weft.url, weft.key);
    await fresh.getByRole('table', { name: 'Adapters' }).waitFor();
    await fresh.close();
    console.log(`first load, answers of the API included: ${bytes} bytes`);
    expect(bytes).toBeGreaterThan(50_000);
    expect(bytes).toBeLessThan(FIRST_LOAD_BYTES_MAX);
  });

  test('a wrong key is told so; signing out forgets the key', async () => {
    await page.goto(`${weft.url}/console/`);
    expect(await violations(page)).toEqual([]);
    await page.getByLabel('API key').fill('sk-wrong');
    await page.keyboard.press('Enter');
    await page.getByText('unknown, revoked or expired').waitFor();
    await signIn(page, weft.url, weft.adminKey);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('API key').waitFor();
    expect(await page.evaluate('sessionStorage.length')).toBe(0);
  });

  test('a tenant\'s key is shown what it may', async () => {
    await signIn(page, weft.url, weft.key);
    await page.getByRole('heading', { name: 'Adapters' }).waitFor();
    expect(await page.getByRole('navigation', { name: 'Main' }).getByRole('listitem').allTextContents()).toEqual(['Adapters', 'Upload', 'Playground', 'Usage']);
    await page.getByRole('button', { name: 'Sign out' }).click();
  });
});

describe('an admin', () => {
  beforeAll(async () => { if (chrome !== undefined) await signIn(page, weft.url, weft.adminKey); });

  test('finds adapters', async () => {
    await go('/adapters');
    const all = readdirSync(ADAPTERS).length;
    await page.getByText(`${all} adapters`, { exact: true }).waitFor();
    await page.getByLabel('Search').fill('R16-');
    await page.getByText(`1 adapter of ${all}`).waitFor();
    expect(page.url()).toContain('q=R16-');
    await page.getByLabel('Search').fill('');
    await page.getByRole('columnheader', { name: 'Rank' }).getByRole('button').click();
    await page.getByRole('columnheader', { name: /Rank/ }).and(page.locator('[aria-sort=ascending]')).waitFor();
    await page.getByLabel('Rank', { exact: true }).selectOption('16');
    await page.getByRole('link', { name: /r16-all/ }).click();
    await page.getByRole('heading', { name: 'r16-all@1' }).waitFor();
  });

  test('scrolls 10,000 of them smoothly', async () => {
    const { data: [one] } = await (await admin('GET', '/v1/adapters')).json() as { data: { name: string; id: string }[] };
    const many = Array.from({ length: 10_000 }, (_, i) => ({ ...one!, id: String(i), name: `many-${String(i).padStart(5, '0')}` }));
    await page.route(/\/v1\/adapters\?/, route => {
      const after = new URL(route.request().url()).searchParams.get('after')?.split('/')[1];
      const from = after === undefined ? 0 : many.findIndex(({ name }) => name === after) + 1;
      return route.fulfill({ json: { object: 'list', data: many.slice(from, from + 1000), has_more: from + 1000 < many.length } });
    });
    await go('/adapters');
    await page.getByText('10,000 adapters').waitFor();
    expect(await page.getByRole('row').count()).toBeLessThan(60);
    const frames = await page.evaluate(`new Promise(resolve => {
      const grid = document.querySelector('.grid'), times = []; let before = performance.now();
      const step = now => { times.push(now - before); before = now; grid.scrollTop += 400; if (times.length < 120) requestAnimationFrame(step); else resolve(times.slice(1)); };
      requestAnimationFrame(step);
    })`) as number[];
    frames.sort((a, b) => a - b);
    console.log(`scrolling 10,000 rows: median frame ${frames[60]!.toFixed(1)} ms, 95th ${frames[113]!.toFixed(1)} ms`);
    expect(frames[60]).toBeLessThan(70);
    await page.evaluate(`document.querySelector('.grid').scrollTop = 1e9`);
    await page.getByRole('link', { name: /many-09999/ }).waitFor();
    await page.unroute(/\/v1\/adapters\?/);
  });

  test('uploads a folder and sees what it changes', async () => {
    await go('/upload');
    const folder = join(scratch, 'fresh');
    cpSync(join(ADAPTERS, 'r8-qv'), folder, { recursive: true });
    writeFileSync(join(folder, 'trainer_state.json'), '{}');
    await page.getByLabel('Folder').setInputFiles(folder);
    const item = page.getByRole('region', { name: 'Upload of fresh' });
    await item.getByLabel('Alias when ready').fill('prod');
    expect(await item.getByRole('checkbox', { name: /trainer_state/ }).isChecked()).toBe(false);
    await item.getByRole('button', { name: 'Upload' }).click();
    await item.getByText('the server holds the bytes that were hashed here').waitFor();
    await item.getByText(/log-probabilities change by up to/).waitFor();
    await item.getByRole('button', { name: 'Compare' }).click();
    await expect.poll(() => item.locator('.before-after p').allTextContents()).not.toContain('…');
    const [before, after] = await item.locator('.before-after p').allTextContents();
    expect(before).not.toBe(after);
  });

  test('is told what is wrong with an adapter, and where', async () => {
    await go('/upload');
    const folder = join(scratch, 'broken');
    cpSync(join(ADAPTERS, 'r8-qv'), folder, { recursive: true });
    const file = join(folder, 'adapter_config.json');
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')) as object, r: 3 }));
    await page.getByLabel('Folder').setInputFiles(folder);
    const item = page.getByRole('region', { name: 'Upload of broken' });
    await item.getByRole('button', { name: 'Upload' }).click();
    await item.getByText('failed').waitFor();
    await item.locator('.findings code', { hasText: 'lora_' }).first().waitFor();
    await item.getByText(/adapter_tensor_shape/).first().waitFor();
    await item.getByText(/was it trained on another size/).first().waitFor();
  });

  test('cancels an upload in mid-stream and tries again', async () => {
    await go('/upload');
    let held = true;
    await page.route(/\/v1\/adapters$/, async route => { if (held) await new Promise(resolve => { setTimeout(resolve, 3000); }); await route.continue().catch(() => undefined); });
    await page.getByLabel('Folder').setInputFiles(join(ADAPTERS, 'r16-all'));
    const item = page.getByRole('region', { name: /Upload of/ });
    await item.getByLabel('Name').fill('second-try');
    const named = page.getByRole('region', { name: 'Upload of second-try' });
    await named.getByRole('button', { name: 'Upload' }).click();
    await named.getByRole('button', { name: 'Cancel' }).click();
    held = false;
    await named.getByRole('button', { name: 'Upload' }).click();
    await named.getByText('the server holds the bytes').waitFor();
    await page.unroute(/\/v1\/adapters$/);
  });

  test('takes what is dropped: a folder, an archive', async () => {
    execFileSync('tar', ['-czf', join(scratch, 'dropped.tar.gz'), '-C', ADAPTERS, 'r16-all']);
    await go('/upload');
    const { x, y, width, height } = (await page.getByText('Drop a folder').boundingBox())!;
    const session = await context.newCDPSession(page);
    for (const [file, name] of [[join(ADAPTERS, 'rs-r32'), 'rs-r32'], [join(scratch, 'dropped.tar.gz'), 'r16-all']] as const) {
      for (const type of ['dragEnter', 'dragOver', 'drop'] as const) {
        await session.send('Input.dispatchDragEvent', { type, x: x + width / 2, y: y + height / 2, data: { items: [], files: [file], dragOperationsMask: 1 } });
      }
      const item = page.getByRole('region', { name: `Upload of ${name}` });
      await item.getByRole('checkbox', { name: 'adapter_model.safetensors' }).waitFor();
      await item.getByRole('button', { name: 'Upload' }).click();
      await item.getByText('the server holds the bytes').waitFor();
    }
    await session.detach();
  });

  test('cancels an ingestion', async () => {
    // A stopped executor packs nothing: the version waits for it.
    const executor = weft.service('executor');
    process.kill(executor, 'SIGSTOP');
    try {
      await go('/upload');
      await page.getByLabel('Folder').setInputFiles(join(ADAPTERS, 'r16-all'));
      await page.getByRole('region', { name: /Upload of/ }).getByLabel('Name').fill('unwanted');
      await page.getByRole('region', { name: 'Upload of unwanted' }).getByRole('button', { name: 'Upload' }).click();
      await expect.poll(async () => (await admin('GET', '/v1/adapters/unwanted')).status).toBe(200);
      await go('/jobs');
      await page.getByRole('button', { name: 'Cancel unwanted@1' }).click();
      await page.getByRole('row', { name: /unwanted@1 cancelled/ }).waitFor();
    } finally {
      process.kill(executor, 'SIGCONT');
    }
    await expect.poll(async () => (await (await admin('GET', '/v1/adapters/unwanted/versions/1')).json() as { status: string }).status).toBe('failed');
    await expect.poll(async () => (await fetch(`${weft.url}/health/ready`)).status, { timeout: 20_000 }).toBe(200);
  });

  test('reads tar.gz and zip archives', async () => {
    execFileSync('tar', ['-czf', join(scratch, 'packed.tar.gz'), '-C', ADAPTERS, 'r8-qv']);
    execFileSync('python3', ['-m', 'zipfile', '-c', join(scratch, 'zipped.zip'), join(ADAPTERS, 'r8-qv')]);
    await go('/upload');
    await page.getByLabel('Archive or files').setInputFiles([join(scratch, 'packed.tar.gz'), join(scratch, 'zipped.zip')]);
    await expect.poll(() => page.getByRole('region', { name: 'Upload of r8-qv' }).count()).toBe(2);
    for (const item of await page.getByRole('region', { name: 'Upload of r8-qv' }).all()) {
      // Those bytes are that version already.
      await item.getByRole('button', { name: 'Upload' }).click();
      await item.getByText('the server holds the bytes').waitFor();
      expect(await item.getByRole('link', { name: 'r8-qv@1' }).count()).toBe(1);
    }
  });

  test('deploys a version, and rolls it back', async () => {
    await go('/upload');
    await page.getByLabel('Folder').setInputFiles(join(ADAPTERS, 'r16-all'));
    await page.getByRole('region', { name: /Upload of/ }).getByLabel('Name').fill('fresh');
    const item = page.getByRole('region', { name: 'Upload of fresh' });
    await item.getByRole('button', { name: 'Upload' }).click();
    await item.getByRole('link', { name: 'fresh@2' }).click();
    const config = page.getByRole('region', { name: 'Configuration' });
    await config.getByRole('heading', { name: '@2 against @1' }).waitFor();
    await config.getByRole('row', { name: 'r 8 16' }).waitFor();
    const deployment = page.getByRole('region', { name: 'Deployment' });
    await deployment.getByLabel('Alias', { exact: true }).fill('prod');
    await deployment.getByRole('button', { name: 'Deploy' }).click();
    await deployment.getByText('→ @2').first().waitFor();
    await deployment.getByRole('button', { name: 'Roll back to @1' }).click();
    await deployment.getByRole('button', { name: 'Roll back to @2' }).waitFor();
    await deployment.getByText('History').click();
    expect((await deployment.locator('.history li').allTextContents()).map(text => text.replace(/.*prod/, '').trim())).toEqual(['@2 → @1', '@1 → @2', '→ @1']);
  });

  test('asks several adapters at once', async () => {
    await go('/playground');
    await page.getByLabel('Route').selectOption('completion');
    await page.getByLabel(/^Models/).fill('fresh@prod');
    await page.keyboard.press('Enter');
    await page.getByLabel('Prompt').fill('the quick brown fox');
    await page.getByLabel('Max tokens').fill('24');
    await page.getByRole('button', { name: 'Ask' }).click();
    const answers = page.locator('.answer');
    await expect.poll(() => answers.locator('[aria-busy=true]').count()).toBe(0);
    await page.locator('.answer:last-child .piece').first().waitFor();
    await expect.poll(() => page.locator('.answer:last-child dl').textContent()).toMatch(/tok\/s.*cold start/);
    expect(await answers.count()).toBe(3);
    expect(await page.locator('.answer:last-child .mono').textContent()).toBe('fresh@1');
    await page.locator('.answer:last-child .piece').first().hover();
    await page.locator('.answer:last-child .odds').first().getByText('%').first().waitFor();
    for (const [language, part] of [['curl', '-d \'{'], ['Python', 'client.completions.create('], ['TypeScript', 'await client.completions.create(']] as const) {
      await page.getByRole('button', { name: 'Copy as code' }).click();
      await page.getByLabel('Language').selectOption(language);
      await page.getByRole('button', { name: `Copy as ${language}` }).click();
      await page.getByText('Copied', { exact: true }).waitFor();
      expect(await page.evaluate('navigator.clipboard.readText()')).toContain(part);
      await page.keyboard.press('Escape');
    }
  });

  test('watches the pool, and looks back', async () => {
    await go('/live');
    await page.getByText('Nothing runs.').waitFor();
    let over = false;
    const load = Promise.all(['r16-all', 'r8-qv', 'r16-all', 'r8-qv'].map(async model => {
      while (!over) await (await weft.post('/v1/completions', { model, prompt: 'the', max_tokens: 100, ignore_eos: true })).text();
    }));
    const batch = page.getByRole('region', { name: 'Rows of the batch' });
    await batch.getByText(/^[a-z0-9-]+@\d/).first().waitFor();
    await page.getByText('KV default').waitFor();
    // A tenant that came after the page did is called by its name all the same.
    await admin('POST', '/v1/tenants', { name: 'newcomer' });
    const newcomer = new OpenAI({ baseURL: `${weft.url}/v1`, apiKey: weft.adminKey, defaultHeaders: { 'x-weft-tenant': 'newcomer' } });
    const [base] = (await newcomer.models.list()).data;
    const late = (async (): Promise<void> => {
      while (!over) await newcomer.completions.create({ model: base!.id, prompt: 'the', max_tokens: 100 });
    })();
    await page.getByText('KV newcomer').waitFor();
    await batch.getByText('newcomer').first().waitFor();
    over = true;
    await Promise.all([load, late]);
    await page.getByText('Nothing runs.').waitFor();
    // The weights come first; the pool behind them.
    const map = page.getByRole('img', { name: /Memory map/ });
    await map.hover({ position: { x: 8, y: 8 } });
    await page.getByText('Base weights', { exact: true }).waitFor();
    const moment = page.getByLabel('Moment that is shown');
    await moment.focus();
    for (let presses = 0; presses < 600 && await batch.locator('tbody tr').count() === 0; presses++) await page.keyboard.press('ArrowLeft');
    await batch.getByText(/^[a-z0-9-]+@\d/).first().waitFor();
    await page.getByText('looking back').waitFor();
    await page.getByRole('button', { name: 'Back to live' }).click();
    await page.getByText('Nothing runs.').waitFor();
  });

  test('makes, limits, rotates and revokes keys', async () => {
    await go('/tenants');
    await page.getByRole('button', { name: 'Create a tenant' }).click();
    await page.getByLabel('Name').fill('acme');
    await page.getByRole('button', { name: 'Create', exact: true }).click();
    await page.getByRole('link', { name: 'acme' }).waitFor();
    await go('/keys');
    await page.getByRole('button', { name: 'Create a key' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Name').fill('robot');
    await dialog.getByLabel('Tenant', { exact: true }).selectOption('acme');
    await dialog.getByLabel('Requests / min').fill('7');
    await dialog.getByRole('button', { name: 'Create' }).click();
    const secret = async (): Promise<string> => { const text = await page.locator('.secret .grow').textContent(); await page.getByRole('button', { name: 'I have it' }).click(); return text!; };
    const first = await secret();
    const asks = (key: string): Promise<number> => fetch(`${weft.url}/v1/keys/current`, { headers: { authorization: `Bearer ${key}` } }).then(({ status }) => status);
    expect(await asks(first)).toBe(200);
    expect(await page.locator('body').textContent()).not.toContain(first);
    await page.getByRole('row', { name: /robot/ }).getByText('7 req/min').waitFor();
    await page.getByRole('button', { name: 'Limits of robot' }).click();
    await page.getByRole('dialog').getByLabel('At once').fill('3');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByRole('row', { name: /robot/ }).getByText('7 req/min, 3 at once').waitFor();
    await page.getByRole('button', { name: 'Rotate robot' }).click();
    await page.getByLabel('The old key ends').selectOption('0');
    await page.getByRole('button', { name: 'Rotate', exact: true }).click();
    const second = await secret();
    expect(second).not.toBe(first);
    await expect.poll(() => asks(first)).toBe(401);
    expect(await asks(second)).toBe(200);
    await page.getByRole('button', { name: 'Revoke robot' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
    await expect.poll(() => asks(second)).toBe(401);
    await go('/tenants');
    await page.getByRole('button', { name: 'Delete acme' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await expect.poll(() => page.getByRole('link', { name: 'acme' }).count()).toBe(0);
  });

  test('reads usage, ingestions, executors and the audit log', async () => {
    await go('/usage');
    await page.getByRole('cell', { name: 'default/r16-all', exact: true }).waitFor();
    await page.locator('.chart canvas').waitFor();
    await page.getByLabel('By', { exact: true }).selectOption('key');
    await page.getByRole('cell', { name: /WEFT_API_KEY/ }).waitFor();
    await go('/jobs');
    await page.getByRole('button', { name: 'Retry broken@1' }).click();
    await page.getByRole('row', { name: /broken@1 failed/ }).waitFor();
    await go('/executors');
    await page.getByText('serving').waitFor();
    await go('/audit');
    await page.getByRole('row', { name: /alias\.put fresh@prod/ }).first().waitFor();
  });

  test('deletes a version and an adapter', async () => {
    await go('/adapters/default/second-try');
    await page.getByRole('button', { name: 'Delete', exact: true }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await page.waitForURL(/\/console\/adapters$/);
    expect((await admin('GET', '/v1/adapters/second-try')).status).toBe(404);
  });

  test.each(PAGES)('%s: nothing for axe to find, light and dark, wide and narrow; nothing overflows', async path => {
    for (const [colorScheme, width] of [['light', 1280], ['dark', 1280], ['light', 390], ['dark', 390]] as const) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await page.setViewportSize({ width, height: 844 });
      await go(path);
      await page.locator('.bone').first().waitFor({ state: 'detached' });
      expect(await violations(page), `${colorScheme} ${width}`).toEqual([]);
      expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth'), `${width}`).toBeLessThanOrEqual(0);
    }
    await page.setViewportSize({ width: 1280, height: 900 });
  });

  test('is at home at the keyboard', async () => {
    await go('/adapters');
    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Skip to the content');
    await page.keyboard.press('Enter');
    expect(await page.evaluate('document.activeElement.id')).toBe('content');
    await page.setViewportSize({ width: 390, height: 844 });
    await page.getByRole('button', { name: 'Menu' }).press('Enter');
    await page.getByRole('link', { name: 'Tenants' }).press('Enter');
    await page.getByRole('heading', { name: 'Tenants' }).waitFor();
    await page.getByRole('button', { name: 'Create a tenant' }).press('Enter');
    expect(await page.evaluate('document.activeElement.tagName')).toBe('INPUT');
    await page.keyboard.press('Escape');
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Create a tenant');
  });

  test('the browser had nothing to complain of, and asked nobody else', () => { expect(complaints).toEqual([]); });
});
