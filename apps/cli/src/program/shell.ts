/** What commands have in common: whom they speak to, how they tell what they found, and how they end. */
import { parseInteger, WeftError } from '@weft/contracts';
import type { Command } from 'commander';
import type { Api } from '../api.js';
import type { Outcome } from '../commands/outcome.js';
import { apiOf, targetOptions, type TargetOptions } from '../commands/target.js';
import { EXIT } from '../exit-codes.js';
import { colors, hasColors, type Colors } from '../terminal/colors.js';

export type ClientOptions = TargetOptions & { json?: boolean };

export class Shell {
  exitCode: number = EXIT.done;
  readonly colors: Colors;
  readonly errorColors: Colors;

  constructor(readonly env: NodeJS.ProcessEnv) {
    this.colors = colors(hasColors(process.stdout, env));
    this.errorColors = colors(hasColors(process.stderr, env));
  }

  api(options: TargetOptions, as: 'tenant' | 'admin'): Api { return apiOf(options, as, this.env); }

  async show({ json }: { json?: boolean }, outcome: Outcome | Promise<Outcome>): Promise<void> {
    const { text, json: answered, failed = false } = await outcome;
    this.print(json === true ? JSON.stringify(answered, null, 2) : text);
    if (failed) this.exitCode = EXIT.failed;
  }

  print(line: string): void { console.log(line); }
}

/** A command that speaks to a running Weft. */
export function client(parent: Command, name: string, description: string, examples: string[]): Command {
  const command = local(parent, name, description, examples);
  for (const option of targetOptions()) command.addOption(option);
  return command;
}

/** One that doesn't. */
export function local(parent: Command, name: string, description: string, examples: string[]): Command {
  return parent.command(name).description(description).allowExcessArguments(false).option('--json', 'for programs').addHelpText('after', `\nExamples:\n${examples.map(example => `  $ ${example}`).join('\n')}`);
}

export const integer = (name: string, min: number) => (value: string): number => parseInteger(name, value, { min });
export const number = (name: string) => (value: string): number => {
  if (value.trim() === '' || !Number.isFinite(Number(value))) throw new WeftError('option_invalid', `${name} is ${JSON.stringify(value)}; it must be a number`, { field: name });
  return Number(value);
};
