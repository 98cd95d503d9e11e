/** The command, with all that it can do. */
import { VERSION } from '@weft/contracts';
import { Command } from 'commander';
import { adapterCommands } from './program/adapters.js';
import { inferenceCommands } from './program/inference.js';
import { serverCommands } from './program/server.js';
import { setupCommands } from './program/setup.js';
import type { Shell } from './program/shell.js';

/** Help and version are no failures; complaints are told as errors of ours. */
const SILENT = { writeErr: () => undefined };

export function buildProgram(shell: Shell): { program: Command; upCommand: Command } {
  const program = new Command('weft').description('Serves many fine-tuned variants of one base model.').version(VERSION).exitOverride().configureOutput(SILENT).enablePositionalOptions()
    .addHelpText('after', '\nExit codes: 0 done, 1 failed or refused, 2 used wrongly, 3 not there, 4 not allowed, 5 no answer now, try again. `weft up` ends with 0 or 1.');
  const upCommand = serverCommands(program, shell);
  adapterCommands(program, shell);
  inferenceCommands(program, shell);
  setupCommands(program, shell);
  return { program, upCommand };
}
