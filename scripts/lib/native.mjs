// @ts-check
// Builds what lies below libs/kernels/native:
//
//   core/*.cpp     kernels and the device; no Node headers, so they compile while npm still installs
//   cuda/*.cpp     the CUDA device as the host drives it; needs no CUDA to compile. Kernels: lib/cuda.mjs
//   replay/*.cpp   with core: the program `weft-replay`
//   addon/*.cpp    with core: `weft_kernels.node`; Node-API headers come from npm
//   emulation/     instruction sets that a machine may lack, for tests of their kernels
//
// The ending of a core file's name chooses its instruction set; the device picks among them when it starts. An object's
// name holds the hash of all that it depends on, so whatever exists is current.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { createRequire } from 'node:module';
import { inRoot, say } from './checkout.mjs';
import { Problem } from './problem.mjs';
import { capture, eachLimited } from './processes.mjs';

const NATIVE = inRoot('libs', 'kernels', 'native');

const AVX2 = ['-mavx2', '-mfma', '-mf16c'];
const AVX512 = ['-mavx512f', '-mavx512bw', '-mavx512vl', '-mavx512dq', ...AVX2];
const AVX512_BF16 = [...AVX512, '-mavx512bf16', '-mavx512vnni'];
const AMX = [...AVX512_BF16, '-mamx-tile', '-mamx-bf16'];

/** GCC's own AVX-512 headers use values that are undefined on purpose, and are warned of where they are inlined. */
const GCC_AVX512 = ['-Wno-uninitialized', '-Wno-maybe-uninitialized'];

/** features: by their names in /proc/cpuinfo. @type {{ ending: string, arch: NodeJS.Architecture, flags: string[], features?: string[] }[]} */
const VARIANTS = [
  { ending: '_avx2.cpp', arch: 'x64', flags: AVX2 },
  { ending: '_avx512.cpp', arch: 'x64', flags: AVX512, features: ['avx512f'] },
  { ending: '_avx512bf16.cpp', arch: 'x64', flags: AVX512_BF16, features: ['avx512_bf16'] },
  { ending: '_amx.cpp', arch: 'x64', flags: AMX, features: ['avx512_bf16', 'amx_bf16'] },
  { ending: '_neon.cpp', arch: 'arm64', flags: [] }, // part of the architecture: needs no flag
  { ending: '_neondot.cpp', arch: 'arm64', flags: ['-march=armv8.2-a+dotprod'], features: ['asimddp'] },
  { ending: '_neonbf16.cpp', arch: 'arm64', flags: ['-march=armv8.2-a+dotprod+bf16'], features: ['asimddp', 'bf16'] },
];

/**
 * The flags that a file's instruction set needs, or undefined when the file is for another architecture.
 * @param {string} file
 * @param {string} arch as process.arch
 * @param {'gcc' | 'clang'} family
 * @returns {string[] | undefined}
 */
export function variantFlags(file, arch, family) {
  const variant = VARIANTS.find(({ ending }) => file.endsWith(ending));
  if (!variant) return [];
  if (variant.arch !== arch) return undefined;
  return family === 'gcc' && variant.flags.includes('-mavx512f') ? [...variant.flags, ...GCC_AVX512] : variant.flags;
}

/**
 * Whether a file is for this machine: what its processor can't run need not be compiled, and takes minutes. WEFT_ALL_ISAS compiles
 * all of it, for images that run elsewhere; so do builds that treat warnings as errors. WEFT_ISAS ("avx2") names those that are
 * wanted beside the portable one: while kernels are written, one is enough.
 * @param {string} file
 * @param {NodeJS.ProcessEnv} env
 * @param {string} cpuinfo  what /proc/cpuinfo says, or nothing
 */
export function runsHere(file, env, cpuinfo) {
  const variant = VARIANTS.find(({ ending }) => file.endsWith(ending)), features = variant?.features;
  if (variant && env.WEFT_ISAS && !env.WEFT_WERROR) return env.WEFT_ISAS.split(',').some(isa => variant.ending === `_${isa.trim()}.cpp`);
  if (!features || env.WEFT_ALL_ISAS || env.WEFT_WERROR || cpuinfo === '') return true;
  const there = new Set(/^(?:flags|Features)\s*:(.*)$/m.exec(cpuinfo)?.[1].split(' '));
  return features.every(feature => there.has(feature));
}

function cpuinfo() {
  try {
    return readFileSync('/proc/cpuinfo', 'utf8');
  } catch {
    return '';                                             // not this kind of system
  }
}

/** Intrinsics of AVX-512 and its kin in C++. In an emulated build it stands in front of the files that use them. */
const EMULATION = join(NATIVE, 'emulation', 'avx512.h');

/**
 * What an emulated build gives the compiler in place of a variant's flags.
 * @param {string[]} flags
 */
export function emulatedFlags(flags) {
  if (!flags.includes('-mavx512f')) return flags;
  const vnni = flags.includes('-mavx512vnni') ? ['-DWEFT_EMULATE_VNNI'] : [];
  // Kernels throw nothing; where they could, GCC 12 fails on its own (gsi_insert_seq_nodes_after).
  return [...AVX2, ...vnni, '-fno-exceptions', '-include', EMULATION];
}

/** No contraction and no reassociation: a row's bits must not depend on what the optimizer made of the loop around it. */
const COMMON = [
  ...['-std=c++17', '-fPIC', '-pthread', '-fvisibility=hidden', '-fno-math-errno', '-ffp-contract=off'],
  ...['-Wall', '-Wextra', `-I${NATIVE}`, `-I${join(NATIVE, 'core')}`],
];
const OPTIMIZED = ['-O3'];
export const ADDON = 'weft_kernels.node';
/** Node-API's own symbols are found in the running Node; what the addon defines itself, it calls itself (addon/allocations.cpp). */
const SHARED = process.platform === 'darwin' ? ['-shared', '-undefined', 'dynamic_lookup'] : ['-shared', '-Wl,-Bsymbolic-functions'];
/** Not for everybody: a compiler that we have not met may have a new warning, and must still build. */
const STRICT = process.env.WEFT_WERROR ? ['-Werror'] : [];

/** Which folder a sanitized build goes to, by the first of its sanitizers. @type {Record<string, string>} */
const SANITIZED_FOLDERS = { address: 'build-asan', thread: 'build-tsan', undefined: 'build-ubsan' };

/**
 * @param {string} sanitizers such as "address,undefined"
 */
export function sanitizedBuild(sanitizers) {
  const names = sanitizers.split(',');
  if (!names.every(name => Object.hasOwn(SANITIZED_FOLDERS, name))) {
    throw new Problem(`--sanitize=${sanitizers}: combine ${Object.keys(SANITIZED_FOLDERS).join(', ')}`);
  }
  const sanitize = `-fsanitize=${sanitizers}`;
  return {
    folder: inRoot('libs', 'kernels', SANITIZED_FOLDERS[names[0]]),
    compile: ['-O1', '-g', '-fno-omit-frame-pointer', '-fno-sanitize-recover=all', sanitize],
    link: [sanitize],
  };
}

/**
 * The quoted includes of a source, and theirs, in the order in which they are met.
 * @param {string} file
 * @param {string[]} searched  the folders given by -I
 * @returns {string[]}
 */
export function includedFiles(file, searched) {
  /** @type {Set<string>} */
  const found = new Set();
  /** @param {string} current */
  const visit = current => {
    for (const [, name] of readFileSync(current, 'utf8').matchAll(/^\s*#\s*include\s*"([^"]+)"/gm)) {
      const path = [dirname(current), ...searched].map(folder => join(folder, name)).find(existsSync);
      if (!path || found.has(path)) continue;
      found.add(path);
      visit(path);
    }
  };
  visit(file);
  return [...found];
}

/** Names the sources of the addon, all of them: one that was built elsewhere must carry the same. */
export function sourceStamp() {
  const hash = createHash('sha256');
  for (const part of ['addon', 'core', 'cuda']) {
    for (const name of readdirSync(join(NATIVE, part), { recursive: true, encoding: 'utf8' }).sort()) {
      if (/\.(h|cpp)$/.test(name)) hash.update(`\0${part}/${name}\0`).update(readFileSync(join(NATIVE, part, name)));
    }
  }
  return hash.digest('hex').slice(0, 16);
}

/**
 * @typedef {object} Unit
 * @property {string} source
 * @property {string} object
 * @property {string[]} flags
 */

/**
 * @typedef {object} Settings
 * @property {string} folder
 * @property {string[]} compile
 * @property {string[]} link
 * @property {boolean} [emulate]  compile files of AVX-512 and its kin against `emulation/`
 * @property {boolean} [everywhere]  compile files of all instruction sets, whatever this processor has
 * @property {NodeJS.Architecture} [arch]  what is compiled for; the compiler is one for it
 */

/** One build of the native code with one set of flags, in one folder. */
class Build {
  #compiler;
  #folder;
  #flags;
  #linkFlags;
  #emulate;
  #everywhere;
  #arch;
  #cpuinfo = cpuinfo();
  #parallel = availableParallelism();
  /** Objects of this build; the others in its folder are left over from earlier sources. @type {Set<string>} */
  #objects = new Set();

  /**
   * @param {import('./requirements.mjs').Compiler} compiler
   * @param {Settings} settings
   */
  constructor(compiler, { folder, compile, link, emulate = false, everywhere = emulate, arch = process.arch }) {
    this.#compiler = compiler;
    this.#folder = folder;
    this.#emulate = emulate;
    this.#everywhere = everywhere;
    this.#arch = arch;
    this.#flags = [...COMMON, ...compile];
    this.#linkFlags = ['-pthread', ...link, ...(process.platform === 'linux' ? ['-ldl'] : [])];
  }

  /**
   * @param {'core' | 'cuda' | 'replay' | 'addon' | 'bench' | 'emulation'} part
   * @param {string[]} [extra] flags of this part alone
   * @returns {Unit[]}
   */
  units(part, extra = []) {
    const folder = join(NATIVE, part);
    if (!existsSync(folder)) return [];
    return readdirSync(folder)
      .filter(name => name.endsWith('.cpp'))
      .sort()
      .flatMap(name => {
        const variant = variantFlags(name, this.#arch, this.#compiler.family);
        if (!variant || !(this.#everywhere || runsHere(name, process.env, this.#cpuinfo))) return [];
        const source = join(folder, name);
        const stamp = name === 'stamp.cpp' ? [`-DWEFT_SOURCE_STAMP="${sourceStamp()}"`] : [];
        const flags = [...this.#flags, ...(this.#emulate ? emulatedFlags(variant) : variant), ...extra, ...stamp];
        const hash = createHash('sha256').update(JSON.stringify([this.#compiler.identity, flags]));
        const before = flags.includes(EMULATION) ? [EMULATION] : [];
        for (const file of [...before, source, ...includedFiles(source, [NATIVE, join(NATIVE, 'core')])]) {
          hash.update(`\0${basename(file)}\0`).update(readFileSync(file));
        }
        const object = join(this.#folder, 'obj', `${part}-${name.replace(/\.cpp$/, '')}-${hash.digest('hex').slice(0, 16)}.o`);
        this.#objects.add(object);
        return [{ source, object, flags }];
      });
  }

  /** Compiles those units whose objects don't exist. @param {Unit[]} units */
  async compile(units) {
    const stale = units.filter(unit => !existsSync(unit.object));
    if (!stale.length) return;
    mkdirSync(join(this.#folder, 'obj'), { recursive: true });
    say(`compiling ${stale.length} native ${stale.length === 1 ? 'file' : 'files'}`);
    await eachLimited(stale, this.#parallel, async ({ source, object, flags }) => {
      await this.#make(object, output => [...flags, ...STRICT, '-c', source, '-o', output]);
    });
  }

  /**
   * Links units into `name` in the build's folder, unless exactly these already are.
   * @param {string} name
   * @param {Unit[]} units
   * @param {string[]} flags
   * @param {() => Promise<void>} beforeReplacing
   */
  async link(name, units, flags, beforeReplacing) {
    const output = join(this.#folder, name);
    const stamp = `${output}.stamp`;
    const objects = units.map(unit => unit.object);
    const content = JSON.stringify([objects.map(object => basename(object)), flags, this.#linkFlags]);
    if (existsSync(output) && existsSync(stamp) && readFileSync(stamp, 'utf8') === content) return;
    await beforeReplacing();
    rmSync(stamp, { force: true });
    await this.#make(output, temporary => [...flags, ...objects, ...this.#linkFlags, '-o', temporary]);
    writeFileSync(stamp, content);
  }

  /** Removes the objects of earlier sources. */
  sweep() {
    const folder = join(this.#folder, 'obj');
    if (!existsSync(folder)) return;
    for (const name of readdirSync(folder)) if (!this.#objects.has(join(folder, name))) rmSync(join(folder, name));
  }

  /**
   * Runs the compiler and moves its output into place: processes that loaded the old file keep it.
   * @param {string} output
   * @param {(temporary: string) => string[]} args
   */
  async #make(output, args) {
    const temporary = `${output}.${process.pid}.tmp`;
    const command = [...this.#compiler.command, ...args(temporary)];
    const { code, output: text } = await capture(command);
    if (code !== 0) {
      rmSync(temporary, { force: true });
      throw new Problem(`this failed with exit code ${code}:\n${command.join(' ')}\n${text.trim()}`);
    }
    if (text) process.stderr.write(text);
    renameSync(temporary, output);
  }
}

/** Folders with the headers that the addon includes. They lie in packages, so this works only once those are installed. */
function nodeApiFlags() {
  const require = createRequire(inRoot('libs', 'kernels', 'package.json'));
  const folders = [require('node-api-headers').include_dir, dirname(require.resolve('node-addon-api/package.json'))];
  // As system headers: their warnings are not ours to mend.
  return [...folders.flatMap(folder => ['-isystem', folder]), '-DNAPI_VERSION=8', '-DNODE_ADDON_API_CPP_EXCEPTIONS'];
}

/** @type {Settings} */
const RELEASE = { folder: inRoot('libs', 'kernels', 'build'), compile: OPTIMIZED, link: [] };
/** @type {Settings} */
const EMULATED = { folder: inRoot('libs', 'kernels', 'build-emulated'), compile: ['-O1', '-DWEFT_EMULATE', '-Wno-psabi'], link: [], emulate: true };

/**
 * The addon and `weft-replay`, in libs/kernels/build.
 * @param {import('./requirements.mjs').Compiler} compiler
 * @param {Promise<void>} installed  when it resolves, the packages with Node-API's headers are there
 * @param {() => Promise<void>} beforeReplacing  awaited before a file that others may be using changes
 * @param {Settings} [settings]
 */
export async function buildNative(compiler, installed, beforeReplacing, settings = RELEASE) {
  const build = new Build(compiler, settings);
  const core = [...build.units('core'), ...build.units('cuda')];
  const replay = build.units('replay');
  await build.compile([...core, ...replay]);
  await installed;
  const addon = build.units('addon', nodeApiFlags());
  await build.compile(addon);
  if (replay.length) await build.link('weft-replay', [...core, ...replay], [], beforeReplacing);
  if (addon.length) {
    await build.link(ADDON, [...core, ...addon], SHARED, beforeReplacing);
  }
  for (const part of /** @type {const} */ (['bench', 'emulation'])) build.units(part);   // theirs are kept, if they were ever built
  build.sweep();
}

/**
 * The addon for other machines of this platform: with the C++ library inside, without symbols. What `buildNative` compiled is linked.
 * @param {import('./requirements.mjs').Compiler} compiler
 * @returns {Promise<string>} the file
 */
export async function linkPrebuilt(compiler) {
  const folder = inRoot('libs', 'kernels', 'build');
  const build = new Build(compiler, { folder, compile: OPTIMIZED, link: [], everywhere: true });
  const units = [...build.units('core'), ...build.units('cuda'), ...build.units('addon', nodeApiFlags())];
  await build.compile(units);
  const alone = process.platform === 'linux' ? ['-static-libstdc++', '-static-libgcc', '-s'] : [];
  await build.link(`prebuilt-${ADDON}`, units, [...SHARED, ...alone], async () => {});
  return join(folder, `prebuilt-${ADDON}`);
}

/**
 * `kernel-bench`, which times kernels beside the machine's ceilings.
 * @param {import('./requirements.mjs').Compiler} compiler
 * @returns {Promise<string>} the program
 */
export async function buildKernelBench(compiler) {
  const build = new Build(compiler, RELEASE);
  const units = [...build.units('core'), ...build.units('bench')];
  await build.compile(units);
  await build.link('kernel-bench', units, [], async () => {});
  return join(RELEASE.folder, 'kernel-bench');
}

/**
 * `weft-replay` alone, with sanitizers.
 * @param {import('./requirements.mjs').Compiler} compiler
 * @param {string} sanitizers such as "address,undefined"
 * @returns {Promise<string | undefined>} the program, or undefined where there is nothing to build
 */
export function buildSanitized(compiler, sanitizers) {
  return buildReplay(compiler, sanitizedBuild(sanitizers));
}

/**
 * `weft-replay` alone for arm64, by a compiler of another architecture; for an emulator.
 * @param {import('./requirements.mjs').Compiler} compiler
 */
export function buildArm64(compiler) {
  return buildReplay(compiler, { folder: inRoot('libs', 'kernels', 'build-arm64'), compile: OPTIMIZED, link: ['-static'], everywhere: true, arch: 'arm64' });
}

/**
 * @param {import('./requirements.mjs').Compiler} compiler
 * @param {Settings} settings
 * @returns {Promise<string | undefined>}
 */
async function buildReplay(compiler, settings) {
  const build = new Build(compiler, settings);
  const units = [...build.units('core'), ...build.units('cuda'), ...build.units('replay')];
  await build.compile(units);
  if (!build.units('replay').length) return undefined;
  await build.link('weft-replay', units, [], async () => {});
  build.sweep();
  return join(settings.folder, 'weft-replay');
}

/**
 * The addon and `weft-replay` with all instruction sets of this architecture, those that the processor lacks emulated,
 * and `check-emulation`, which holds the emulation against plain code and against a processor that has them.
 * @param {import('./requirements.mjs').Compiler} compiler
 * @returns {Promise<string>} the folder
 */
export async function buildEmulated(compiler) {
  const build = new Build(compiler, EMULATED);
  const check = build.units('emulation');
  await build.compile(check);
  await build.link('check-emulation', check, [], async () => {});
  await buildNative(compiler, Promise.resolve(), async () => {}, EMULATED);
  return EMULATED.folder;
}
