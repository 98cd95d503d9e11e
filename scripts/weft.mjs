// @ts-check
// Everything that `npm start`, `npm test` and their kin do: check what this machine has, install, build what is stale, run.
// Plain Node without dependencies: it runs in a fresh clone, before anything is installed.
import { requireNode } from './lib/requirements.mjs';

const usage = `usage: node scripts/weft.mjs COMMAND [ARGS]

  start [OPTIONS]         build what is stale, then \`weft up OPTIONS\`
  build [--prebuilt DIR] [--cuda]   install and build what is stale; write the kernels for machines without a compiler; build
                          those for CUDA devices
  test [--full] [ARGS]    build, type-check, run every suite; ARGS go to vitest
  bench [ARGS]            build, then run test/bench
  sim [ARGS]              build, then run test/sim
  record [FOLDER]         record ops and small models for test/gpu/run.sh, which needs no Node
  generate                rewrite the committed files that are generated
  native [--sanitize=S | --emulate | --arm64 | --bench | --cuda | --fake-cuda]   build the kernels alone; S: address,undefined or thread
  clean                   remove what was built`;

/** @type {Record<string, () => Promise<{ run(args: string[]): Promise<number> }>>} */
const commands = {
  start: () => import('./commands/start.mjs'),
  build: () => import('./commands/build.mjs'),
  test: () => import('./commands/test.mjs'),
  bench: () => import('./commands/bench.mjs'),
  sim: () => import('./commands/sim.mjs'),
  record: () => import('./commands/record.mjs'),
  generate: () => import('./commands/generate.mjs'),
  native: () => import('./commands/native.mjs'),
  clean: () => import('./commands/clean.mjs'),
};

const [name = '', ...args] = process.argv.slice(2);
if (!Object.hasOwn(commands, name)) {
  console.error(usage);
  process.exit(2);
}
try {
  requireNode(process.versions.node);
  const command = await commands[name]();
  process.exitCode = await command.run(args);
} catch (error) {
  // What a person can mend has a message of its own; a bug keeps its stack.
  const { Problem } = await import('./lib/problem.mjs');
  console.error(error instanceof Problem ? `weft: ${error.message}` : error);
  process.exitCode = 1;
}
