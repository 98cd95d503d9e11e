/**
 * Writes recordings for machines without Node (run.sh): every op alone, a step with adapters, a chain of many tiles, and each
 * architecture's small model with and without adapters, f32 and bf16 activations, and steps of a busy engine. All with what the CPU device made of them.
 *
 *   node scripts/weft.mjs record [FOLDER]        (recordings.tar.xz in this folder by default)
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { openCheckpoint } from '../../libs/engine/src/checkpoint/index.js';
import { loadModel } from '../../libs/engine/src/models/index.js';
import { deviceOf, isas } from '../unit/kernels/harness.js';
import { recordChain, recordOps, recordStep } from '../unit/kernels/recordings.js';
import { recordMixes } from './mixes.js';
import { OneSequence } from '../unit/models/one-sequence.js';

const MODELS = fileURLToPath(new URL('../fixtures/models', import.meta.url));
/** What rounding in another order costs: in f32 next to nothing; bf16 rows may round the other way, and go on from there. */
const TOLERANCE = { f32: { absolute: 2e-3, relative: 2e-3 }, bf16: { absolute: 0.12, relative: 0.12 } } as const;
/** One adapter of each kind of target is enough; the op recordings have the odd shapes. */
const ADAPTERS_MAX = 2;
/** Its weights would be most of the archive; the rest has all architectures. */
const LARGE = 'llama-wide';

/** Models of which steps with many sequences are recorded. */
const MIXED = ['llama-bias', 'qwen3-tiny'];

const device = deviceOf({ isa: isas.at(-1)!, threads: 2 });
const folder = process.argv[2] ?? mkdtempSync(join(tmpdir(), 'weft-recordings-')), images = mkdtempSync(join(tmpdir(), 'weft-images-'));
mkdirSync(folder, { recursive: true });

await recordStep(device, folder);
await recordChain(device, folder);
await recordOps(device, folder);
for (const name of readdirSync(MODELS).filter(model => model !== LARGE)) {
  for (const activations of ['f32', 'bf16'] as const) {
    const model = await loadModel(device, await openCheckpoint(join(MODELS, name, 'base')), { partition: { rank: 0, size: 1 }, activations });
    for (const adapter of ['base', ...readdirSync(join(MODELS, name, 'adapters')).slice(0, ADAPTERS_MAX)]) {
      const sequence = new OneSequence(model);
      if (adapter !== 'base') await sequence.adapt(join(MODELS, name, 'adapters', adapter), images);
      const [{ prompt, ids }] = JSON.parse(readFileSync(join(MODELS, name, `${adapter}.json`), 'utf8')) as [{ prompt: number[]; ids: number[] }];
      await sequence.record([...prompt, ...ids], join(folder, `${name}-${adapter}-${activations}.weft`), TOLERANCE[activations], activations === 'f32');
      sequence.close();
    }
  }
}
for (const name of MIXED) await recordMixes(join(MODELS, name, 'base'), join(MODELS, name, 'adapters'), images, join(folder, `mix-${name}`), TOLERANCE.f32);
rmSync(images, { recursive: true });

const files = readdirSync(folder).filter(file => file.endsWith('.weft'));
console.log(`${files.length} recordings, ${(files.reduce((sum, file) => sum + statSync(join(folder, file)).size, 0) / 2 ** 20).toFixed(1)} MiB in ${folder}`);
if (process.argv[2] === undefined) {
  const archive = fileURLToPath(new URL('recordings.tar.xz', import.meta.url));
  await promisify(execFile)('tar', ['--sort=name', '--owner=0', '--group=0', '--mtime=2026-01-01', '-cJf', archive, '-C', folder, '.'], { env: { ...process.env, XZ_OPT: '-9e' } });
  console.log(`${archive}: ${(statSync(archive).size / 2 ** 20).toFixed(1)} MiB`);
  rmSync(folder, { recursive: true });
}
process.exit();
