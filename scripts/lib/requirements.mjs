// @ts-check
import { spawnSync } from 'node:child_process';
import { Problem } from './problem.mjs';

/** The same range as `engines` in package.json. */
export const NODE_RANGE = '^20.19.0 || ^22.13.0 || >=24.11.0';

/** @param {string} version such as "20.19.0" */
export function supportsNode(version) {
  const [major, minor] = version.split('.').map(Number);
  if (major === 20) return minor >= 19;
  if (major === 22) return minor >= 13;
  return major > 24 || (major === 24 && minor >= 11);
}

/** @param {string} version */
export function requireNode(version) {
  if (process.platform === 'win32') throw new Problem('Windows is not supported; run it inside WSL.');
  if (!supportsNode(version)) {
    throw new Problem(`Node ${version} is not supported: ${NODE_RANGE} is needed. See https://nodejs.org/en/download.`);
  }
}

/**
 * @typedef {object} Compiler
 * @property {string[]} command  the program and the arguments that belong to it (CXX may be "ccache g++")
 * @property {'gcc' | 'clang'} family
 * @property {number} major
 * @property {string} identity   changes whenever its output may: part of every object's key
 */

/** The oldest compilers that know every instruction set which the kernels are written for. */
const OLDEST = { gcc: 11, clang: 14 };

/**
 * Reads what `CXX --version` printed.
 * @param {string} text
 * @returns {{ family: 'gcc' | 'clang', major: number } | undefined}
 */
export function parseCompilerVersion(text) {
  const clang = /clang version (\d+)\./.exec(text);
  if (clang) return { family: 'clang', major: Number(clang[1]) };
  // "g++ (Debian 12.2.0-14) 12.2.0": the parenthesis is the packager's, the version follows it.
  const gcc = /^\S*(?:g\+\+|gcc|c\+\+)\S* \(.*\) (\d+)\./m.exec(text);
  return gcc ? { family: 'gcc', major: Number(gcc[1]) } : undefined;
}

/**
 * The compiler that CXX names, or the first of g++, clang++ and c++ that is new enough.
 * @param {NodeJS.ProcessEnv} env
 * @returns {Compiler}
 */
export function findCompiler(env = process.env) {
  const chosen = env.CXX?.trim();
  const candidates = chosen ? [chosen.split(/\s+/)] : [['g++'], ['clang++'], ['c++']];
  const seen = [];
  for (const command of candidates) {
    const name = command.join(' ');
    const { status, stdout } = spawnSync(command[0], [...command.slice(1), '--version'], { encoding: 'utf8' });
    if (status !== 0) continue;
    const version = parseCompilerVersion(stdout);
    if (version && version.major >= OLDEST[version.family]) return { command, ...version, identity: `${name}\n${stdout}` };
    seen.push(version ? `${name} is ${version.family} ${version.major}` : `${name} is neither GCC nor Clang`);
  }
  const found = seen.length ? `found: ${seen.join(', ')}` : chosen ? `CXX=${chosen} does not run` : 'found none';
  throw new Problem(
    `a C++17 compiler is needed, GCC ${OLDEST.gcc} or Clang ${OLDEST.clang} or newer (${found}). Install it with\n` +
      '  Debian, Ubuntu:  apt-get install g++\n' +
      '  Fedora, RHEL:    dnf install gcc-c++\n' +
      '  macOS:           xcode-select --install\n' +
      'or name one in CXX.',
  );
}
