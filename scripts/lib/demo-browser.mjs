// @ts-check
// A Weft with the demo, and a browser in front of it: what scripts that take pictures of the console stand on.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';
import { inRoot } from './checkout.mjs';

/**
 * Serves the demo on a free port while `use` runs. `folder` is for what it writes; it is gone afterwards.
 * @param {(served: { url: string, adminKey: string, folder: string }) => Promise<void>} use
 */
export async function withDemo(use) {
  const folder = mkdtempSync(join(tmpdir(), 'weft-pictures-'));
  const weft = spawn(process.execPath, [inRoot('apps', 'cli', 'dist', 'main.js'), 'up', '--port', '0', '--data-dir', join(folder, 'data')], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(weft, 'exit');
  try {
    for await (const line of createInterface({ input: weft.stdout })) if (line.startsWith('weft ready ')) break;
    weft.stdout.resume();
    /** @type {{ url: string, adminKey: string }} */
    const { url, adminKey } = JSON.parse(readFileSync(join(folder, 'data', 'credentials.json'), 'utf8'));
    await use({ url, adminKey, folder });
  } finally {
    weft.kill('SIGTERM');
    await exited;
    rmSync(folder, { recursive: true, force: true });
  }
}

/** WEFT_CHROMIUM, or the system's. Root has no sandbox to enter. */
export const openBrowser = () => chromium.launch({ executablePath: process.env.WEFT_CHROMIUM ?? '/usr/bin/chromium', args: process.getuid?.() === 0 ? ['--no-sandbox'] : [] });
