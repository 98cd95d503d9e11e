import { describeError, toWeftError, type WeftError } from '@weft/contracts';
import { CommanderError, type Command } from 'commander';
import { targetOptions } from './commands/target.js';
import { EXIT, exitCodeOf } from './exit-codes.js';
import { optionError, withoutPostgres, withoutUnset } from './options.js';
import { buildProgram } from './program.js';
import { Shell } from './program/shell.js';

const probe = buildProgram(new Shell({}));
process.env = withoutPostgres(withoutUnset(process.env, [...probe.upCommand.options, ...targetOptions()]));
const shell = new Shell(process.env);
const { program } = buildProgram(shell);
const named = process.argv.slice(2);
// Whoever reads the output may have had enough (`weft run … | head`): a server goes on, an answer is over.
process.stdout.on('error', () => { if (named[0] !== 'up') process.exit(); });

try {
  await program.parseAsync();
} catch (thrown) {
  shell.exitCode = failed(thrown);
}
process.exit(shell.exitCode);

function failed(thrown: unknown): number {
  if (!(thrown instanceof CommanderError)) return told(toWeftError(thrown));
  if (thrown.exitCode === 0) return EXIT.done;
  const command = named.reduce<Command>((parent, name) => parent.commands.find(child => child.name() === name) ?? parent, program);
  if (command.commands.length === 0) return told(optionError(thrown.message, command));
  if (thrown.code === 'commander.unknownCommand') console.error(`weft: ${thrown.message.replace(/^error: /, '')}\n`);
  console.error(command.helpInformation());
  return EXIT.usage;
}

function told(error: WeftError): number {
  console.error(error.code === 'internal_error' && error.details.cause !== undefined ? error : `weft: ${describeError(error)}`);
  return named[0] === 'up' ? EXIT.failed : exitCodeOf(error.code);
}
