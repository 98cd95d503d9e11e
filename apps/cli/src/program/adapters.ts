/** Commands about adapters: what is there, and what its names mean. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { remove, setAlias } from '../commands/alias.js';
import { list } from '../commands/list.js';
import { pull } from '../commands/pull.js';
import { push, type PushOptions } from '../commands/push.js';
import { rollback, showAdapter } from '../commands/show.js';
import { resolvePath } from '../options.js';
import { TransferProgress } from '../terminal/progress-bar.js';
import { client, type ClientOptions, type Shell } from './shell.js';

export function adapterCommands(program: Command, shell: Shell): void {
  const progress = (verb: string, { json }: ClientOptions): TransferProgress | undefined =>
    (process.stderr.isTTY && json !== true ? new TransferProgress(process.stderr, shell.errorColors, verb) : undefined);

  client(program, 'push', 'upload an adapter folder as a version, and wait until it is ready or refused', ['weft push ./my-adapter', 'weft push ./out/checkpoint-900 --name tickets --alias default'])
    .argument('<folder>').option('--name <name>', 'of the adapter (default: the folder\'s)').option('--alias <alias>', 'to set once the version is ready')
    .option('--description <text>', 'of the adapter').option('--no-wait', 'return once it is uploaded')
    .action(async (folder: string, options: ClientOptions & PushOptions) => {
      const told = progress('uploaded', options);
      try {
        const outcome = await push(shell.api(options, 'tenant'), resolvePath(folder, shell.env), options, told === undefined ? {} : { sent: told.sent.bind(told), stage: told.stage.bind(told) });
        told?.end(outcome.failed !== true);
        await shell.show(options, outcome);
      } finally {
        told?.end(false);
      }
    });
  client(program, 'pull', 'download a version\'s files, as they were uploaded', ['weft pull my-adapter', 'weft pull my-adapter@3 ./adapters/my-adapter-3'])
    .argument('<adapter[@version|alias]>').argument('[folder]', 'where to; new or empty (default: the adapter\'s name)')
    .action(async (reference: string, folder: string | undefined, options: ClientOptions) => {
      const told = progress('received', options);
      const folderOf = (name: string): string => resolve(shell.env.INIT_CWD ?? '.', folder ?? name);
      await shell.show(options, pull(shell.api(options, 'tenant'), reference, folderOf, (bytes, total) => told?.sent(bytes, total)).finally(() => told?.end(false)));
    });
  client(program, 'ls', 'models, adapters and their versions', ['weft ls', 'weft ls --json'])
    .action((options: ClientOptions) => shell.show(options, list(shell.api(options, 'tenant'))));
  client(program, 'show', 'all that is known of an adapter, or of one version', ['weft show my-adapter', 'weft show my-adapter@2'])
    .argument('<adapter[@version|alias]>').action((reference: string, options: ClientOptions) => shell.show(options, showAdapter(shell.api(options, 'tenant'), reference)));
  client(program, 'alias', 'let ADAPTER@ALIAS mean a version', ['weft alias my-adapter default 2', 'weft alias my-adapter canary --delete'])
    .argument('<adapter>').argument('<alias>').argument('[version]').option('--delete', 'remove the alias')
    .action((adapter: string, alias: string, version: string | undefined, options: ClientOptions & { delete?: boolean }) =>
      shell.show(options, setAlias(shell.api(options, 'tenant'), adapter, alias, version, options.delete === true)));
  client(program, 'rollback', 'let an alias mean the ready version before the one that it means', ['weft rollback my-adapter', 'weft rollback my-adapter prod --to 3'])
    .argument('<adapter>').argument('[alias]', 'which', 'default').option('--to <version>', 'that one instead')
    .action((adapter: string, alias: string, options: ClientOptions & { to?: string }) => shell.show(options, rollback(shell.api(options, 'tenant'), adapter, alias, options.to)));
  client(program, 'rm', 'delete an adapter, or one version of it', ['weft rm my-adapter@1', 'weft rm my-adapter --force'])
    .argument('<adapter[@version]>').option('--force', 'even if an alias names it')
    .action((reference: string, options: ClientOptions & { force?: boolean }) => shell.show(options, remove(shell.api(options, 'tenant'), reference, options.force === true)));
}
