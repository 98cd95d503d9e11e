/** The system's Chromium, and what a person does in it. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import axe from 'axe-core';
import { chromium, type Browser, type Page } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

/** WEFT_CHROMIUM, or the first on the path. */
export function findChromium(): string | undefined {
  const { WEFT_CHROMIUM: named, PATH = '' } = process.env;
  if (named) return named;
  return PATH.split(delimiter).flatMap(folder => NAMES.map(name => join(folder, name))).find(file => {
    try { accessSync(file, constants.X_OK); return true; } catch { return false; }
  });
}

/** Root has no sandbox to enter. */
export const launch = (executablePath: string): Promise<Browser> => chromium.launch({ executablePath, args: process.getuid?.() === 0 ? ['--no-sandbox'] : [] });

export async function signIn(page: Page, url: string, key: string): Promise<void> {
  await page.goto(`${url}/console/`);
  await page.getByLabel('API key').fill(key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('navigation', { name: 'Main' }).waitFor({ state: 'attached' });
}

/** What axe-core finds wrong, in words. */
export async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations: found } = await page.evaluate('axe.run(document, { resultTypes: ["violations"] })') as axe.AxeResults;
  return found.flatMap(({ id, help, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${help}: ${String(target)} ${failureSummary ?? ''}`));
}
