/** Commands about keys, servers and the shell. */
import { Option, type Command } from 'commander';
import { createKey, listKeys, revokeKey, type KeyOptions } from '../commands/keys.js';
import { addProfile, listProfiles, removeProfile, useProfile } from '../commands/profile.js';
import { candidates, completionScript, SHELLS } from '../completion.js';
import { Profiles, type Profile } from '../profiles.js';
import { client, integer, local, type ClientOptions, type Shell } from './shell.js';

export function setupCommands(program: Command, shell: Shell): void {
  const keys = program.command('keys').description('keys of the API');
  client(keys, 'ls', 'those there are', ['weft keys ls']).action((options: ClientOptions) => shell.show(options, listKeys(shell.api(options, 'admin'))));
  client(keys, 'create', 'make one; it is told once', ['weft keys create ci', 'weft keys create ci --scopes inference,adapters:write --requests-per-minute 60 --expires 2030-01-01'])
    .argument('<name>').option('--scopes <scopes>', 'any of inference, adapters:write, admin, with commas', 'inference')
    .addOption(new Option('--requests-per-minute <number>', 'limit (default: none)').argParser(integer('--requests-per-minute', 1)))
    .addOption(new Option('--tokens-per-minute <number>', 'limit (default: none)').argParser(integer('--tokens-per-minute', 1)))
    .addOption(new Option('--parallel <number>', 'limit of requests at a time (default: none)').argParser(integer('--parallel', 1)))
    .option('--expires <time>', 'a day, or a time with its zone (default: never)')
    .action((name: string, options: ClientOptions & KeyOptions) => shell.show(options, createKey(shell.api(options, 'admin'), name, options)));
  client(keys, 'revoke', 'end one', ['weft keys revoke 5d0e…']).argument('<id>').action((id: string, options: ClientOptions) => shell.show(options, revokeKey(shell.api(options, 'admin'), id)));

  const profile = program.command('profile').description('servers by name, for --profile');
  local(profile, 'add', 'remember a server; the first one is used from then on', ['weft profile add prod --url https://weft.example.com --key sk-weft-…'])
    .argument('<name>').requiredOption('--url <url>', 'of the server').addOption(new Option('--key <key>', 'to show there').env('WEFT_KEY').makeOptionMandatory())
    .option('--admin-key <key>', 'for ps and keys').option('--tenant <name>', 'the tenant to act for')
    .action((name: string, { url, key, adminKey, tenant, json }: Profile & ClientOptions) => shell.show({ ...(json === true && { json }) }, addProfile(Profiles.read(shell.env), name, { url: url!, key: key!, adminKey, tenant })));
  local(profile, 'use', 'which one commands speak to', ['weft profile use prod', 'weft profile use --none     # the Weft of the data directory'])
    .argument('[name]').option('--none', 'none of them')
    .action((name: string | undefined, options: ClientOptions & { none?: boolean }, command: Command) => {
      if ((name === undefined) !== (options.none === true)) command.error('error: weft profile use takes NAME or --none');
      return shell.show(options, useProfile(Profiles.read(shell.env), name ?? null));
    });
  local(profile, 'ls', 'those there are', ['weft profile ls']).action((options: ClientOptions) => shell.show(options, listProfiles(Profiles.read(shell.env))));
  local(profile, 'rm', 'forget one', ['weft profile rm prod']).argument('<name>').action((name: string, options: ClientOptions) => shell.show(options, removeProfile(Profiles.read(shell.env), name)));

  program.command('completion').description('what a shell reads to complete this command').argument('<shell>', SHELLS.join(', '))
    .addHelpText('after', '\nExamples:\n  $ weft completion bash > ~/.local/share/bash-completion/completions/weft\n  $ weft completion zsh > "${fpath[1]}/_weft"\n  $ weft completion fish > ~/.config/fish/completions/weft.fish')
    .action((name: string) => shell.print(completionScript(name)));
  program.command('__complete', { hidden: true }).argument('[words...]').allowUnknownOption().helpOption(false)
    .action(async (words: string[]) => { for (const line of await candidates(program, words, shell.env)) shell.print(line); });
}
