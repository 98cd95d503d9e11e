/** Commands about the Weft of this machine, and about what runs anywhere. */
import { Option, type Command } from 'commander';
import { doctor } from '../commands/doctor.js';
import { down, logs, type LogsOptions } from '../commands/server.js';
import { processes, usage, watchProcesses, type UsageOptions } from '../commands/status.js';
import { dataDirOf, dataDirOption } from '../commands/target.js';
import { DEFAULT_PORT, resolveOptions, upOptions, type UpOptions } from '../options.js';
import { up } from '../up.js';
import { client, integer, local, type ClientOptions, type Shell } from './shell.js';

/** The usual drain time, and what closing takes. */
const DOWN_S = 45;

/** Returns `weft up`, whose options come from the environment too. */
export function serverCommands(program: Command, shell: Shell): Command {
  const upCommand = program.command('up').description('serve a model and its adapters on this machine').allowExcessArguments(false)
    .addHelpText('after', '\nExamples:\n  $ weft up                                  # the bundled demo\n  $ weft up --model ./SmolLM2-135M-Instruct --adapters ./adapters\n  $ weft up --once                           # ask, print a table, end')
    .action(async (options: Partial<UpOptions>) => { shell.exitCode = await up(resolveOptions(options, shell.env), shell.env); });
  for (const option of upOptions()) upCommand.addOption(option);

  local(program, 'down', 'stop the Weft of a data directory, and wait until it has', ['weft down', 'weft down --data-dir ./weft-data --timeout 5 --force']).addOption(dataDirOption())
    .addOption(new Option('--timeout <seconds>', 'how long to wait').argParser(integer('--timeout', 0)).default(DOWN_S)).option('--force', 'kill it if it still runs then')
    .action((options: ClientOptions & { timeout: number; force?: boolean }) => shell.show(options, down(dataDirOf(options.dataDir, shell.env), { timeout: options.timeout, force: options.force === true })));
  local(program, 'logs', 'what the Weft of a data directory told, and tells', ['weft logs --follow', 'weft logs executor --lines 50']).addOption(dataDirOption())
    .argument('[service]', 'weft, postgres, migrate, registry, executor or gateway (default: all)')
    .addOption(new Option('-n, --lines <number>', 'the last ones; 0 for all').argParser(integer('--lines', 0)).default(200)).option('-f, --follow', 'go on as they come')
    .action(async (service: string | undefined, options: ClientOptions & LogsOptions) => {
      const stop = new AbortController();
      process.once('SIGINT', () => stop.abort());
      await logs(dataDirOf(options.dataDir, shell.env), service, options, line => shell.print(line), stop.signal);
    });
  client(program, 'ps', 'executors: their load, what is resident, and who owns their memory', ['weft ps', 'weft ps --watch'])
    .option('-w, --watch', 'look again every second')
    .action(async (options: ClientOptions & { watch?: boolean }) => {
      const admin = shell.api(options, 'admin');
      if (options.watch !== true) return shell.show(options, processes(admin));
      const stop = new AbortController();
      process.once('SIGINT', () => stop.abort());
      await watchProcesses(admin, process.stdout, options.json === true, stop.signal);
    });
  client(program, 'usage', 'requests and tokens', ['weft usage', 'weft usage --group-by tenant,day --start 2026-01-01'])
    .option('--group-by <groups>', 'any of tenant, adapter, model, key, status, hour, day, with commas', 'adapter')
    .option('--start <time>', 'Unix seconds, a day, or a time with its zone').option('--end <time>', 'likewise')
    .action((options: ClientOptions & UsageOptions) => shell.show(options, usage(shell.api(options, 'tenant'), options)));
  local(program, 'doctor', 'what this machine has, what is missing, and what to do about it', ['weft doctor', 'weft doctor --port 9000']).addOption(dataDirOption())
    .addOption(new Option('--port <number>', 'where it would listen').argParser(integer('--port', 1)).default(DEFAULT_PORT))
    .action((options: ClientOptions & { port: number }) => shell.show(options, doctor({
      dataDir: dataDirOf(options.dataDir, shell.env), port: options.port, cudaDriver: shell.env.WEFT_CUDA_DRIVER, colors: shell.colors,
    })));
  return upCommand;
}
