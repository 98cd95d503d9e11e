// @ts-check
// Builds the CUDA kernels (libs/kernels/native/cuda/kernels.cu):
//
//   weft-cuda.fatbin   by nvcc: machine code for each architecture, and PTX that drivers compile for later ones
//   libcuda-fake.so    by the C++ compiler, for tests: the same kernels as host code behind a driver that checks its calls
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { basename, dirname, join } from 'node:path';
import { inRoot, say } from './checkout.mjs';
import { includedFiles } from './native.mjs';
import { Problem } from './problem.mjs';
import { capture } from './processes.mjs';

const NATIVE = inRoot('libs', 'kernels', 'native');
const KERNELS = join(NATIVE, 'cuda', 'kernels.cu');
const EMULATION = join(NATIVE, 'emulation', 'cuda');
export const CUDA_MODULE = inRoot('libs', 'kernels', 'build', 'weft-cuda.fatbin');
export const FAKE_DRIVER = inRoot('libs', 'kernels', 'build-emulated', 'libcuda-fake.so');

/** Ampere, Ada, Hopper with its own instructions, and what comes later. */
const ARCHITECTURES = ['arch=compute_80,code=sm_80', 'arch=compute_89,code=sm_89', 'arch=compute_90a,code=sm_90a', 'arch=compute_80,code=compute_80'];
const NVCC_FLAGS = [
  '-std=c++17', '-O3', '-fatbin', '-I', NATIVE, '-Xcompiler', '-Wall,-Wextra', '-Werror', 'all-warnings', '--threads', '0',
  ...ARCHITECTURES.flatMap(architecture => ['-gencode', architecture]),
];
const HOST_FLAGS = ['-std=c++17', '-O2', '-fPIC', '-fvisibility=hidden', '-shared', '-pthread', '-ffp-contract=off', '-Wall', '-Wextra', `-I${NATIVE}`, `-I${join(NATIVE, 'core')}`];

/**
 * The CUDA compiler that NVCC names, or the one on the path, or that of the usual place.
 * @param {NodeJS.ProcessEnv} env
 * @returns {string | undefined}
 */
export function findNvcc(env = process.env) {
  return [env.NVCC, 'nvcc', '/usr/local/cuda/bin/nvcc'].find(name => name && spawnSync(name, ['--version']).status === 0);
}

/** @returns {Promise<string>} the file */
export async function buildCuda() {
  const nvcc = findNvcc();
  if (!nvcc) throw new Problem('nvcc of a CUDA toolkit, 12.0 or newer, is needed to build the CUDA kernels. See https://developer.nvidia.com/cuda-downloads, or name one in NVCC.');
  await make(CUDA_MODULE, [nvcc, ...NVCC_FLAGS, KERNELS], [KERNELS, ...includedFiles(KERNELS, [NATIVE])], 'CUDA kernels');
  return CUDA_MODULE;
}

/**
 * @param {import('./requirements.mjs').Compiler} compiler
 * @returns {Promise<string>} the library
 */
export async function buildFakeDriver(compiler) {
  const sources = readdirSync(EMULATION).filter(name => name.endsWith('.cpp') && !name.startsWith('check_') && !name.startsWith('fake_cublas')).sort().map(name => join(EMULATION, name));
  const files = [KERNELS, ...sources];
  const inputs = [...new Set(files.flatMap(file => [file, ...includedFiles(file, [NATIVE, join(NATIVE, 'core')])]))];
  await make(FAKE_DRIVER, [...compiler.command, ...HOST_FLAGS, '-x', 'c++', ...files], inputs, 'CUDA kernels as host code');
  return FAKE_DRIVER;
}

/**
 * Runs `command -o output`, unless `output` was made by it from these inputs as they are.
 * @param {string} output
 * @param {string[]} command
 * @param {string[]} inputs
 * @param {string} what
 */
async function make(output, command, inputs, what) {
  const hash = createHash('sha256').update(JSON.stringify(command));
  for (const file of inputs) hash.update(`\0${basename(file)}\0`).update(readFileSync(file));
  const stamp = `${output}.stamp`, content = hash.digest('hex');
  if (existsSync(output) && existsSync(stamp) && readFileSync(stamp, 'utf8') === content) return;
  mkdirSync(dirname(output), { recursive: true });
  say(`compiling the ${what}`);
  const temporary = `${output}.${process.pid}.tmp`, whole = [...command, '-o', temporary];
  const { code, output: text } = await capture(whole);
  if (code !== 0) {
    rmSync(temporary, { force: true });
    throw new Problem(`this failed with exit code ${code}:\n${whole.join(' ')}\n${text.trim()}`);
  }
  renameSync(temporary, output);
  writeFileSync(stamp, content);
}
