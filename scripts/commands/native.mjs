// @ts-check
import { parseArgs } from 'node:util';
import { inRoot, say } from '../lib/checkout.mjs';
import { withLock } from '../lib/checkout-lock.mjs';
import { buildCuda, buildFakeDriver } from '../lib/cuda.mjs';
import { buildArm64, buildEmulated, buildKernelBench, buildSanitized } from '../lib/native.mjs';
import { prepare } from '../lib/prepare.mjs';
import { findCompiler } from '../lib/requirements.mjs';

/**
 * The kernels alone; with sanitizers only `weft-replay`, with --bench only `kernel-bench`, whose path is printed; with
 * --emulate all of them with every instruction set, in a folder that is printed; --cuda the CUDA kernels, --fake-cuda the
 * same as host code behind a stand-in for the driver; --arm64 `weft-replay` by a cross compiler.
 * @param {string[]} args
 */
export async function run(args) {
  const { values } = parseArgs({ args, options: { sanitize: { type: 'string' }, bench: { type: 'boolean' }, emulate: { type: 'boolean' }, arm64: { type: 'boolean' }, cuda: { type: 'boolean' }, 'fake-cuda': { type: 'boolean' } } });
  const { sanitize, bench, emulate } = values;
  if (values.cuda || values['fake-cuda']) {
    console.log(await withLock(inRoot('build', 'prepare.lock'), 'native', () => (values.cuda ? buildCuda() : buildFakeDriver(findCompiler()))));
    return 0;
  }
  if (bench) {
    console.log(await withLock(inRoot('build', 'prepare.lock'), 'native', () => buildKernelBench(findCompiler())));
    return 0;
  }
  if (emulate) {
    console.log(await withLock(inRoot('build', 'prepare.lock'), 'native', () => buildEmulated(findCompiler())));
    return 0;
  }
  if (values.arm64) {
    const compiler = findCompiler({ CXX: 'aarch64-linux-gnu-g++' });
    console.log(await withLock(inRoot('build', 'prepare.lock'), 'native', () => buildArm64(compiler)));
    return 0;
  }
  if (sanitize === undefined) {
    await prepare('native');
    return 0;
  }
  const compiler = findCompiler();
  const program = await withLock(inRoot('build', 'prepare.lock'), 'native', () => buildSanitized(compiler, sanitize));
  if (program) console.log(program);
  else say('libs/kernels/native/replay has no sources');
  return 0;
}
