import { describeError, toWeftError, VERSION, WeftError } from '@weft/contracts';
import { Command, CommanderError } from 'commander';
import { list, run } from './client-commands.js';
import { optionError, resolveOptions, upOptions, withoutUnset, type UpOptions } from './options.js';
import { up } from './up.js';

/** Help and version are no failures; complaints are told as errors of ours. */
const SILENT = { writeErr: () => undefined };

const program = new Command('weft').description('Serves many fine-tuned variants of one base model.').version(VERSION).exitOverride().configureOutput(SILENT);
let exitCode = 0;

const upCommand = program.command('up').description('serve a model and its adapters on this machine').allowExcessArguments(false)
  .action(async (options: Partial<UpOptions>) => { exitCode = await up(resolveOptions(options, process.env), process.env); });
for (const option of upOptions()) upCommand.addOption(option);
process.env = withoutUnset(process.env, upCommand.options);

const dataDir = ['--data-dir <folder>', 'the data directory of the running Weft (default ~/.weft)'] as const;
program.command('ls').description('the models of the running Weft').option(...dataDir)
  .action(async (options: { dataDir?: string }) => { console.log(await list(resolveOptions(options, process.env).dataDir!)); });
program.command('run').description('ask a model of the running Weft; the prompt can come from standard input').option(...dataDir)
  .argument('<model>', 'an adapter or the base').argument('[prompt]')
  .action(async (model: string, prompt: string | undefined, options: { dataDir?: string }) => {
    await run(resolveOptions(options, process.env).dataDir!, model, prompt, text => process.stdout.write(text));
  });
for (const command of program.commands) command.exitOverride().configureOutput(SILENT);

// Whoever reads the output may have had enough (`weft run … | head`): a server goes on, an answer is over.
process.stdout.on('error', () => { if (process.argv[2] !== 'up') process.exit(); });

try {
  await program.parseAsync();
} catch (thrown) {
  exitCode = failed(thrown);
}
process.exit(exitCode);

function failed(thrown: unknown): number {
  if (thrown instanceof CommanderError) {
    if (thrown.exitCode === 0) return 0;
    const command = program.commands.find(candidate => candidate.name() === process.argv[2]);
    if (command === undefined) {
      if (thrown.code === 'commander.unknownCommand') console.error(`weft: ${thrown.message.replace(/^error: /, '')}\n`);
      console.error(program.helpInformation());
      return 1;
    }
    return told(optionError(thrown.message, command));
  }
  return told(toWeftError(thrown));
}

function told(error: WeftError): number {
  console.error(error.code === 'internal_error' && error.details.cause !== undefined ? error : `weft: ${describeError(error)}`);
  return 1;
}
