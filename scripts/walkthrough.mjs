// @ts-check
// Walks the way of docs/walkthrough in a real browser, against a Weft of its own with the demo, and takes its screenshots:
//
//   node scripts/walkthrough.mjs [FOLDER]         (docs/walkthrough)
//
// Needs what was built (`npm run build`), a Chromium (WEFT_CHROMIUM, or on the path) and cwebp (Debian: webp).
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { inRoot, say } from './lib/checkout.mjs';
import { openBrowser, withDemo } from './lib/demo-browser.mjs';

const OUT = process.argv[2] === undefined ? inRoot('docs', 'walkthrough') : resolve(process.argv[2]);
/** What stands for a reader's own adapter: two trainings of one. */
const FIRST = 'northwind-bikes', SECOND = 'copperquay-clocks', NAME = 'my-adapter';
const QUESTION = 'How long can I return something, and what is your hotline?';

mkdirSync(OUT, { recursive: true });
const began = performance.now();
await withDemo(async ({ url, adminKey, folder }) => {
  await walk(url, adminKey, folder);
  say(`walked in ${((performance.now() - began) / 1000).toFixed(0)} s, the start included`);
});

/** @param {string} url @param {string} key @param {string} folder */
async function walk(url, key, folder) {
  const browser = await openBrowser();
  const page = await browser.newPage({ viewport: { width: 1200, height: 800 }, colorScheme: 'light', reducedMotion: 'reduce' });
  page.setDefaultTimeout(30_000);
  const shot = async (/** @type {string} */ name) => {
    const png = join(folder, `${name}.png`);
    await page.mouse.move(0, 0);
    await page.screenshot({ path: png });
    execFileSync('cwebp', ['-quiet', '-q', '82', '-m', '6', png, '-o', join(OUT, `${name}.webp`)]);
    say(`${name} at ${((performance.now() - began) / 1000).toFixed(0)} s`);
  };
  const link = (/** @type {string} */ name) => page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name, exact: true }).click();
  const upload = async (/** @type {string} */ source) => {
    const own = join(folder, 'drop', NAME);
    rmSync(own, { recursive: true, force: true });
    cpSync(inRoot('demo', 'adapters', source), own, { recursive: true });
    await link('Upload');
    await page.getByLabel('Folder').setInputFiles(own);
    return page.getByRole('region', { name: `Upload of ${NAME}` });
  };

  await page.goto(url);
  await page.getByLabel('API key').fill(key);
  await shot('1-sign-in');
  await page.keyboard.press('Enter');
  await page.getByRole('img', { name: /Memory map/ }).waitFor();

  const first = await upload(FIRST);
  await first.getByLabel('Alias when ready').fill('prod');
  await shot('2-upload');
  await first.getByRole('button', { name: 'Upload' }).click();
  await first.getByText(/log-probabilities change by up to/).waitFor();
  await page.waitForFunction("[...document.querySelectorAll('.before-after p')].every(({ textContent }) => textContent !== '…')");
  await shot('3-ready');

  await link('Playground');
  await page.getByLabel(/^Models/).fill(`${NAME}@prod`);
  await page.keyboard.press('Enter');
  await page.getByLabel('Message').or(page.getByLabel('Prompt')).first().fill(QUESTION);
  await page.getByRole('button', { name: 'Ask' }).click();
  await page.locator('.answer:last-child .piece').first().waitFor();
  await page.waitForFunction("document.querySelectorAll('.answer [aria-busy=true]').length === 0");
  await shot('4-playground');

  const second = await upload(SECOND);
  await second.getByRole('button', { name: 'Upload' }).click();
  await second.getByRole('link', { name: `${NAME}@2` }).click();
  const deployment = page.getByRole('region', { name: 'Deployment' });
  await deployment.getByLabel('Alias', { exact: true }).fill('prod');
  await deployment.getByRole('button', { name: 'Deploy' }).click();
  await deployment.getByText('→ @2').first().waitFor();
  await shot('5-deploy');

  await link('Live');
  await page.getByRole('img', { name: /Memory map/ }).waitFor();
  const asked = Array.from({ length: 6 }, () => fetch(`${url}/v1/chat/completions`, {
    method: 'POST', headers: { 'authorization': `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: `${NAME}@prod`, messages: [{ role: 'user', content: QUESTION }], max_tokens: 300, ignore_eos: true }),
  }).then(response => response.arrayBuffer()));
  await page.getByRole('region', { name: 'Rows of the batch' }).getByText(`${NAME}@2`).first().waitFor();
  await shot('6-live');
  await Promise.all(asked);

  await link('Adapters');
  await page.getByLabel('Search').fill(NAME);
  await page.getByRole('link', { name: new RegExp(NAME) }).click();
  await deployment.getByRole('button', { name: 'Roll back to @1' }).click();
  await deployment.getByRole('button', { name: 'Roll back to @2' }).waitFor();
  await deployment.getByText('History').click();
  await shot('7-rolled-back');

  await link('Usage');
  await page.getByRole('cell', { name: `default/${NAME}`, exact: true }).waitFor();
  await page.locator('.chart canvas').waitFor();
  await shot('8-usage');
  await browser.close();
}
