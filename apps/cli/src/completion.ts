/** Completion for shells: their scripts ask `weft __complete WORDS…`, which knows the commands, and asks the server for names. */
import { setTimeout as sleep } from 'node:timers/promises';
import { WeftError } from '@weft/contracts';
import type { Argument, Command, Option } from 'commander';
import type { Model } from './api.js';
import { apiOf, targetOptions } from './commands/target.js';
import { Profiles } from './profiles.js';

/** A server that takes longer keeps a person from typing. */
const ASK_MS_MAX = 1000;

const SCRIPTS: Readonly<Record<string, string>> = {
  bash: `_weft() {
  local IFS=$'\\n'
  COMPREPLY=($(weft __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
}
complete -o default -F _weft weft`,
  zsh: `#compdef weft
_weft() {
  local -a found
  found=(\${(f)"$(weft __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)"})
  if (( \${#found} )); then compadd -- \${found%%$'\\t'*}; else _files; fi
}
if [ "$funcstack[1]" = _weft ]; then _weft "$@"; else compdef _weft weft; fi`,
  fish: `complete -c weft -a '(weft __complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'`,
};
export const SHELLS = Object.keys(SCRIPTS);

/** Throws option_invalid. */
export function completionScript(shell: string): string {
  if (!Object.hasOwn(SCRIPTS, shell)) throw new WeftError('option_invalid', `there is completion for ${SHELLS.join(', ')}, not for ${JSON.stringify(shell)}`, { field: 'shell' });
  return SCRIPTS[shell]!;
}

interface Candidate { name: string; description: string }

/** Lines of name, tab, description: what can stand where the last word is. None where it is a file's name, which shells know. */
export async function candidates(program: Command, words: readonly string[], env: NodeJS.ProcessEnv): Promise<string[]> {
  const typed = words.at(-1) ?? '';
  const found = await wanted(program, words.slice(0, -1), typed, env);
  return found.filter(({ name }) => name.startsWith(typed)).map(({ name, description }) => `${name}\t${description}`);
}

async function wanted(program: Command, before: readonly string[], typed: string, env: NodeJS.ProcessEnv): Promise<Candidate[]> {
  let command = program;
  let position = 0;
  const given: Record<string, string> = Object.fromEntries(targetOptions().flatMap(option => { const value = env[option.envVar!]; return value ? [[option.attributeName(), value]] : []; }));
  let pending: Option | undefined;
  for (const word of before) {
    if (pending !== undefined) {
      given[pending.attributeName()] = word;
      pending = undefined;
    } else if (word.startsWith('-')) {
      const option = command.options.find(({ long, short }) => long === word || short === word);
      pending = option?.required === true ? option : undefined;
    } else if (command.commands.some(child => child.name() === word)) {
      command = command.commands.find(child => child.name() === word)!;
    } else {
      position++;
    }
  }
  if (pending !== undefined) return valuesOf(pending, env);
  if (typed.startsWith('-')) return command.options.filter(({ hidden }) => !hidden).map(({ long, description }) => ({ name: long!, description }));
  if (command.commands.length > 0) return command.commands.filter(child => !child.name().startsWith('__')).map(child => ({ name: child.name(), description: child.description() }));
  const argument = command.registeredArguments[position] ?? command.registeredArguments.findLast(({ variadic }) => variadic);
  return argument === undefined ? [] : namesFor(argument, command, given, env);
}

function valuesOf(option: Option, env: NodeJS.ProcessEnv): Candidate[] {
  if (option.name() === 'profile') return profileNames(env);
  return (option.argChoices ?? []).map(name => ({ name, description: '' }));
}

const profileNames = (env: NodeJS.ProcessEnv): Candidate[] => Profiles.read(env).all.map(([name, { url }]) => ({ name, description: url }));

async function namesFor(argument: Argument, command: Command, given: Record<string, string>, env: NodeJS.ProcessEnv): Promise<Candidate[]> {
  if (command.parent?.name() === 'profile') return command.name() === 'add' ? [] : profileNames(env);
  if (command.name() === 'completion') return SHELLS.map(name => ({ name, description: '' }));
  if (!/^(adapter|model)/.test(argument.name())) return [];
  const asked = (async () => (await apiOf(given, 'tenant', env).get<{ data: Model[] }>('/v1/models')).data)();
  const models = await Promise.race([asked, sleep(ASK_MS_MAX, [])]).catch(() => []);
  return models.filter(({ parent }) => parent !== null || argument.name().startsWith('model')).map(({ id, parent }) => ({ name: id, description: parent === null ? 'base' : 'adapter' }));
}
