/** What README and docs tell people to type, typed: each page from top to bottom, against one Weft with the demo. */
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { blocksOf } from './pages.js';
import { COMMAND, Weft } from './weft.js';

const ROOT = join(import.meta.dirname, '../..');
const PAGES = ['README.md', ...readdirSync(join(ROOT, 'docs')).filter(name => name.endsWith('.md')).map(name => join('docs', name))];
const RUN = ['sh', 'js'];

describe('every block says what it is', () => {
  test.each(PAGES)('%s', page => {
    for (const { language, line, text, reason } of blocksOf(readFileSync(join(ROOT, page), 'utf8'))) {
      expect(['sh', 'js', 'python', 'json', 'text'], `${page}:${line}`).toContain(language);
      if (language === 'json') expect(() => JSON.parse(text) as unknown, `${page}:${line}`).not.toThrow();
      if (language === 'python') expect(reason, `${page}:${line} is not run, and does not say why`).toBeDefined();
      if (reason !== undefined) expect(reason.length, `${page}:${line}`).toBeGreaterThan(10);
    }
  });
});

describe('every block that can be run works', () => {
  let weft: Weft;
  let scratch: string;
  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'weft-pages-'));
    mkdirSync(join(scratch, 'bin'));
    writeFileSync(join(scratch, 'bin/weft'), `#!/bin/sh\nexec '${process.execPath}' '${COMMAND}' "$@"\n`);
    chmodSync(join(scratch, 'bin/weft'), 0o755);
    weft = await Weft.start({ model: 'demo', adapters: null });
  }, 300_000);
  afterAll(async () => {
    if (weft !== undefined) expect(await weft.stop()).toBe(0);
    rmSync(scratch, { recursive: true, force: true });
  });

  /** A folder with what the pages speak of, and nothing left of the page before. */
  function place(page: string): string {
    const folder = join(scratch, page.replaceAll('/', '-'));
    mkdirSync(join(folder, 'adapters'), { recursive: true });
    for (const [from, to] of [['northwind-bikes', 'my-adapter'], ['larkfen-kettles', 'my-other-adapter'], ['ottermere-boats', 'adapters/boats']] as const) cpSync(join(ROOT, 'demo/adapters', from), join(folder, to), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    return folder;
  }

  const pages = PAGES.filter(page => blocksOf(readFileSync(join(ROOT, page), 'utf8')).some(({ language, reason }) => RUN.includes(language) && reason === undefined));
  test.each(pages)('%s', { timeout: 300_000 }, page => {
    const cwd = place(page);
    const env = {
      ...process.env, PATH: `${join(scratch, 'bin')}:${process.env['PATH']}`, URL: weft.url, KEY: weft.key, ADMIN_KEY: weft.adminKey, WEFT_DATA_DIR: weft.dataDir, XDG_CONFIG_HOME: cwd, INIT_CWD: cwd,
    };
    for (const { language, line, text, reason } of blocksOf(readFileSync(join(ROOT, page), 'utf8'))) {
      if (!RUN.includes(language) || reason !== undefined) continue;
      const [program, args] = language === 'sh' ? ['bash', ['-euo', 'pipefail', '-c', text]] as const : [process.execPath, ['--input-type=module', '--eval', text]] as const;
      const { status, stdout, stderr } = spawnSync(program, args, { cwd, env, encoding: 'utf8', timeout: 120_000 });
      expect(status, `${page}:${line}\n${text}\n${stdout}\n${stderr}`).toBe(0);
    }
    spawnSync('bash', ['-c', 'for name in my-adapter over-http boats; do weft rm $name --force; done'], { cwd, env });
  });
});
