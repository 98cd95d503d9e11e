/** `weft doctor`: what this machine has, what is missing, and what to do about it. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { access, constants, statfs } from 'node:fs/promises';
import { cpus } from 'node:os';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { describeError, toWeftError, VERSION } from '@weft/contracts';
import { CUDA_MODULE, createCpuDevice, inspectCudaDriver } from '@weft/kernels';
import { runningOn, type Holder } from '../data-dir.js';
import { freePort } from '../free-port.js';
import { colors as colorsOf, type Colors } from '../terminal/colors.js';
import { mebibytes, type Outcome } from './outcome.js';

const run = promisify(execFile);
const GiB = 2 ** 30;
/** Below this a start is likely to fail: the embedded database alone takes a few hundred MB. */
const DISK_BYTES_MIN = GiB, MEMORY_BYTES_MIN = GiB;

/** note: nothing that a start needs. */
export interface Finding { check: string; status: 'ok' | 'note' | 'failed'; found: string; remedy?: string }

export interface DoctorOptions { dataDir: string; port: number; cudaDriver?: string | undefined; colors?: Colors }

/** Fails where a start with the usual options would. */
export async function doctor({ dataDir, port: wanted, cudaDriver, colors = plain }: DoctorOptions): Promise<Outcome> {
  const running = runningOn(dataDir);
  const findings = await Promise.all([weft(running), node(), processor(), kernels(), memory(), disk(dataDir), port(wanted, running), compiler(), gpu(cudaDriver), gpuKernels()]);
  return { json: { version: VERSION, findings }, text: findings.map(finding => line(finding, colors)).join('\n'), failed: findings.some(({ status }) => status === 'failed') };
}

const plain = colorsOf(false);
const marks = ({ green, dim, red }: Colors): Readonly<Record<Finding['status'], string>> => ({ ok: green('✓'), note: dim('·'), failed: red('✗') });
const line = ({ check, status, found, remedy }: Finding, colors: Colors): string => `${marks(colors)[status]} ${check}: ${found}${remedy === undefined ? '' : `\n    ${colors.yellow('→')} ${remedy}`}`;

const ok = (check: string, found: string): Finding => ({ check, status: 'ok', found });
const note = (check: string, found: string, remedy?: string): Finding => ({ check, status: 'note', found, ...(remedy !== undefined && { remedy }) });
const failed = (check: string, found: string, remedy: string): Finding => ({ check, status: 'failed', found, remedy });
const gib = (bytes: number): string => `${(bytes / GiB).toFixed(1)} GiB`;

function node(): Finding {
  return ok('Node', `${process.versions.node} on ${process.platform} ${process.arch}`);
}

function weft(running: Holder | undefined): Finding {
  return ok('Weft', running === undefined ? `${VERSION}; none runs on this data directory` : `${VERSION}; one runs on this data directory: ${running.url ?? 'still starting'} (pid ${running.pid})`);
}

/** Extensions that kernels are made for. */
const EXTENSIONS = ['avx2', 'fma', 'f16c', 'avx512f', 'avx512_bf16', 'avx512_vnni', 'amx_bf16', 'amx_int8', 'asimd', 'bf16', 'asimddp'];

function processor(): Finding {
  const [{ model = 'unknown' } = {}] = cpus();
  const flags = existsSync('/proc/cpuinfo') ? /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.split(' ') ?? [] : [];
  const found = EXTENSIONS.filter(extension => flags.includes(extension));
  return ok('processor', [model.trim(), `${cpus().length} cores`, found.join(' ')].filter(Boolean).join(', '));
}

/** What runs on this processor. */
function kernels(): Finding {
  try {
    const device = createCpuDevice();
    const found = `${device.isa}, ${device.threads} ${device.threads === 1 ? 'thread' : 'threads'}`;
    device.close();
    return ok('CPU kernels', found);
  } catch (error) {
    return failed('CPU kernels', describeError(toWeftError(error)), '`npm run build` makes them; it needs a C++ compiler');
  }
}

function memory(): Finding {
  const bytes = process.availableMemory();
  return bytes >= MEMORY_BYTES_MIN ? ok('memory', `${gib(bytes)} available`) : failed('memory', `${mebibytes(bytes)} MiB available`, 'end other programs, or raise the container\'s limit');
}

async function disk(dataDir: string): Promise<Finding> {
  const check = `data directory ${dataDir}`;
  let folder = dataDir;
  while (!existsSync(folder)) folder = dirname(folder);
  try {
    await access(folder, constants.W_OK);
  } catch {
    return failed(check, `${folder} cannot be written`, 'name another with --data-dir');
  }
  const { bavail, bsize } = await statfs(folder);
  const bytes = bavail * bsize;
  return bytes >= DISK_BYTES_MIN ? ok(check, `${gib(bytes)} free`) : failed(check, `${mebibytes(bytes)} MiB free`, 'name another disk with --data-dir');
}

async function port(wanted: number, running: Holder | undefined): Promise<Finding> {
  if (running?.url != null && new URL(running.url).port === String(wanted)) return ok(`port ${wanted}`, 'held by the Weft that runs here');
  const free = await freePort(wanted) === wanted;
  return free ? ok(`port ${wanted}`, 'free') : failed(`port ${wanted}`, 'taken', 'name another with --port (0: any); a running Weft has it, perhaps');
}

/** The line in which a program tells its version. */
async function versionOf(program: string): Promise<string | null> {
  try {
    return (await run(program, ['--version'])).stdout.split('\n').find(text => /\d\.\d/.test(text)) ?? program;
  } catch {
    return null;
  }
}

async function compiler(): Promise<Finding> {
  const found = await versionOf(process.env.CXX || 'c++');
  return found === null ? note('C++ compiler', 'none', 'g++ or clang++ builds the kernels when their sources change') : ok('C++ compiler', found);
}

function gpu(driver: string | undefined): Finding {
  try {
    const { version, gpus } = inspectCudaDriver(driver);
    const names = gpus.map(({ name, isa, bytes }, i) => `cuda:${i} ${name} (${isa}, ${gib(bytes)})`);
    return ok('GPU', `${names.join(', ')}; the driver supports CUDA ${Math.floor(version / 1000)}.${(version % 1000) / 10}`);
  } catch (error) {
    const { code, message } = toWeftError(error);
    return code === 'device_unavailable' ? note('GPU', message) : failed('GPU', message, 'without --device cuda:N, the processor is used');
  }
}

async function gpuKernels(): Promise<Finding> {
  if (existsSync(CUDA_MODULE)) return ok('GPU kernels', CUDA_MODULE);
  const nvcc = await versionOf(process.env.NVCC || 'nvcc');
  return nvcc === null ? note('GPU kernels', 'not built, and there is no nvcc', 'a CUDA toolkit and `npm run build:cuda`, for --device cuda:N')
    : note('GPU kernels', `not built; ${nvcc} is there`, '`npm run build:cuda`, for --device cuda:N');
}
