import { text } from 'node:stream/consumers';
import { describeError, parseInteger, toWeftError, VERSION, WeftError } from '@weft/contracts';
import { Command, CommanderError, Option } from 'commander';
import type { Api } from './api.js';
import { remove, setAlias } from './commands/alias.js';
import { doctor } from './commands/doctor.js';
import { createKey, listKeys, revokeKey, type KeyOptions } from './commands/keys.js';
import { list } from './commands/list.js';
import type { Outcome } from './commands/outcome.js';
import { push, terminalProgress, type PushOptions } from './commands/push.js';
import { answer, run, type RunOptions } from './commands/run.js';
import { processes, usage, type UsageOptions } from './commands/status.js';
import { apiOf, targetOptions, type TargetOptions } from './commands/target.js';
import { DEFAULT_PORT, optionError, resolveOptions, resolvePath, upOptions, usualDataDir, withoutPostgres, withoutUnset, type UpOptions } from './options.js';
import { up } from './up.js';

/** Help and version are no failures; complaints are told as errors of ours. */
const SILENT = { writeErr: () => undefined };

const program = new Command('weft').description('Serves many fine-tuned variants of one base model.').version(VERSION).exitOverride().configureOutput(SILENT);
let exitCode = 0;

type ClientOptions = TargetOptions & { json?: boolean };
const apiFor = (options: TargetOptions, as: 'tenant' | 'admin'): Api => apiOf(options, as, process.env);
const integer = (name: string, min: number) => (value: string): number => parseInteger(name, value, { min });
const number = (name: string) => (value: string): number => {
  if (value.trim() === '' || !Number.isFinite(Number(value))) throw new WeftError('option_invalid', `${name} is ${JSON.stringify(value)}; it must be a number`, { field: name });
  return Number(value);
};

const upCommand = program.command('up').description('serve a model and its adapters on this machine').allowExcessArguments(false)
  .action(async (options: Partial<UpOptions>) => { exitCode = await up(resolveOptions(options, process.env), process.env); });
for (const option of upOptions()) upCommand.addOption(option);

client(program, 'push').description('upload an adapter folder as a version, and wait until it is ready or refused').argument('<folder>')
  .option('--name <name>', 'of the adapter (default: the folder\'s)').option('--alias <alias>', 'to set once the version is ready')
  .option('--description <text>', 'of the adapter').option('--no-wait', 'return once it is uploaded')
  .action((folder: string, options: ClientOptions & PushOptions) =>
    show(options, push(apiFor(options, 'tenant'), resolvePath(folder, process.env), options, process.stderr.isTTY ? terminalProgress(line => process.stderr.write(line)) : {})));
client(program, 'ls').description('models, adapters and their versions')
  .action((options: ClientOptions) => show(options, list(apiFor(options, 'tenant'))));
client(program, 'run').description('ask a model; the prompt can come from standard input').argument('<model>', 'an adapter or the base').argument('[prompt]')
  .addOption(new Option('--max-tokens <number>', 'at most so many').argParser(integer('--max-tokens', 1)))
  .addOption(new Option('--temperature <number>', '0 for the likeliest answer').argParser(number('--temperature')))
  .action(async (model: string, prompt: string | undefined, options: ClientOptions & RunOptions) => {
    const api = apiFor(options, 'tenant');
    const asked = prompt ?? await text(process.stdin);
    if (options.json === true) print(JSON.stringify(await answer(api, model, asked, options), null, 2));
    else await run(api, model, asked, options, part => process.stdout.write(part));
  });
client(program, 'alias').description('let ADAPTER@ALIAS mean a version').argument('<adapter>').argument('<alias>').argument('[version]').option('--delete', 'remove the alias')
  .action((adapter: string, alias: string, version: string | undefined, options: ClientOptions & { delete?: boolean }) =>
    show(options, setAlias(apiFor(options, 'tenant'), adapter, alias, version, options.delete === true)));
client(program, 'rm').description('delete an adapter, or one version of it').argument('<adapter[@version]>').option('--force', 'even if an alias names it')
  .action((reference: string, options: ClientOptions & { force?: boolean }) => show(options, remove(apiFor(options, 'tenant'), reference, options.force === true)));
client(program, 'ps').description('executors: their load, and who owns their memory')
  .action((options: ClientOptions) => show(options, processes(apiFor(options, 'admin'))));
client(program, 'usage').description('requests and tokens').option('--group-by <groups>', 'any of tenant, adapter, model, key, status, hour, day, with commas', 'adapter')
  .option('--start <time>', 'Unix seconds, a day, or a time with its zone').option('--end <time>', 'likewise')
  .action((options: ClientOptions & UsageOptions) => show(options, usage(apiFor(options, 'tenant'), options)));

program.command('doctor').description('what this machine has, what is missing, and what to do about it').allowExcessArguments(false)
  .option('--data-dir <folder>', 'where Weft would keep what it makes (default ~/.weft)')
  .addOption(new Option('--port <number>', 'where it would listen').argParser(integer('--port', 1)).default(DEFAULT_PORT))
  .option('--json', 'for programs')
  .action((options: ClientOptions & { dataDir?: string; port: number }) => show(options, doctor({
    dataDir: resolvePath(options.dataDir, process.env) ?? usualDataDir(process.env), port: options.port, cudaDriver: process.env.WEFT_CUDA_DRIVER,
  })));

const keys = program.command('keys').description('keys of the API');
client(keys, 'ls').description('those there are').action((options: ClientOptions) => show(options, listKeys(apiFor(options, 'admin'))));
client(keys, 'create').description('make one; it is told once').argument('<name>').option('--scopes <scopes>', 'any of inference, adapters:write, admin, with commas', 'inference')
  .addOption(new Option('--requests-per-minute <number>', 'limit (default: none)').argParser(integer('--requests-per-minute', 1)))
  .addOption(new Option('--tokens-per-minute <number>', 'limit (default: none)').argParser(integer('--tokens-per-minute', 1)))
  .addOption(new Option('--parallel <number>', 'limit of requests at a time (default: none)').argParser(integer('--parallel', 1)))
  .option('--expires <time>', 'a day, or a time with its zone (default: never)')
  .action((name: string, options: ClientOptions & KeyOptions) => show(options, createKey(apiFor(options, 'admin'), name, options)));
client(keys, 'revoke').description('end one').argument('<id>').action((id: string, options: ClientOptions) => show(options, revokeKey(apiFor(options, 'admin'), id)));

process.env = withoutPostgres(withoutUnset(process.env, [...upCommand.options, ...targetOptions()]));
// Whoever reads the output may have had enough (`weft run … | head`): a server goes on, an answer is over.
process.stdout.on('error', () => { if (process.argv[2] !== 'up') process.exit(); });

try {
  await program.parseAsync();
} catch (thrown) {
  exitCode = failed(thrown);
}
process.exit(exitCode);

/** A command that speaks to a running Weft. */
function client(parent: Command, name: string): Command {
  const command = parent.command(name).allowExcessArguments(false).option('--json', 'for programs: as the API answers');
  for (const option of targetOptions()) command.addOption(option);
  return command;
}

async function show({ json }: ClientOptions, outcome: Promise<Outcome>): Promise<void> {
  const { text: told, json: answered, failed: no = false } = await outcome;
  print(json === true ? JSON.stringify(answered, null, 2) : told);
  if (no) exitCode = 1;
}

function print(line: string): void { console.log(line); }

function failed(thrown: unknown): number {
  if (!(thrown instanceof CommanderError)) return told(toWeftError(thrown));
  if (thrown.exitCode === 0) return 0;
  const command = process.argv.slice(2).reduce<Command>((parent, name) => parent.commands.find(child => child.name() === name) ?? parent, program);
  if (command.commands.length === 0) return told(optionError(thrown.message, command));
  if (thrown.code === 'commander.unknownCommand') console.error(`weft: ${thrown.message.replace(/^error: /, '')}\n`);
  console.error(command.helpInformation());
  return 1;
}

function told(error: WeftError): number {
  console.error(error.code === 'internal_error' && error.details.cause !== undefined ? error : `weft: ${describeError(error)}`);
  return 1;
}
