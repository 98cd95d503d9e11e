import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { executorService, executorV1 } from '@weft/contracts';
import { expect, test } from 'vitest';

const workspace = fileURLToPath(new URL('../../../libs/contracts', import.meta.url));
const loader = fileURLToPath(new URL('../../../scripts/lib/run-typescript.mjs', import.meta.url));

const contents = (folder: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile())
      .map(entry => join(entry.parentPath, entry.name))
      .map(file => [file.slice(folder.length + 1), readFileSync(file, 'utf8')]),
  );

test('what is committed is what the .proto files generate', () => {
  const out = mkdtempSync(join(tmpdir(), 'weft-gen-'));
  try {
    execFileSync(process.execPath, ['--import', loader, 'generate.ts', out], { cwd: workspace });
    expect(contents(join(workspace, 'src', 'gen'))).toEqual(contents(out));
  } finally {
    rmSync(out, { recursive: true });
  }
});

test('the console\'s types are those of the document', () => {
  const out = mkdtempSync(join(tmpdir(), 'weft-gen-')), console = fileURLToPath(new URL('../../../apps/console', import.meta.url));
  try {
    execFileSync(process.execPath, ['--import', loader, 'generate.ts', join(out, 'schema.ts')], { cwd: console });
    expect(readFileSync(join(console, 'src', 'api', 'schema.ts'), 'utf8')).toBe(readFileSync(join(out, 'schema.ts'), 'utf8'));
  } finally {
    rmSync(out, { recursive: true });
  }
});

test('a message survives the wire, the largest seed included', () => {
  const submit = executorV1.Submit.fromPartial({ requestId: 'r', prompt: [0, 1, 2 ** 31], sampling: { seed: 2n ** 64n - 1n, temperature: 0.5 }, logprobs: -1 });
  const { requestSerialize, requestDeserialize, path } = executorService.attach;
  expect(path).toBe('/weft.executor.v1.Executor/Attach');
  expect(requestDeserialize(requestSerialize({ body: { $case: 'submit', value: submit } }))).toEqual({ body: { $case: 'submit', value: submit } });
});
