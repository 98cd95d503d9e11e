/** Commands that ask models. */
import { text } from 'node:stream/consumers';
import { Option, type Command } from 'commander';
import { bench, type BenchOptions } from '../commands/bench.js';
import { chat } from '../commands/chat.js';
import { answer, run, type RunOptions } from '../commands/run.js';
import { printable } from '../table.js';
import { client, integer, number, type ClientOptions, type Shell } from './shell.js';

export function inferenceCommands(program: Command, shell: Shell): void {
  client(program, 'run', 'ask a model; without a prompt, talk to it in the terminal', ['weft run my-adapter "Route the ticket: I was charged twice."', 'weft run my-adapter            # /help says what there is', 'weft run my-adapter < question.txt'])
    .argument('<model>', 'an adapter or the base').argument('[prompt]', 'what to ask (default: standard input, where that is no terminal)')
    .addOption(new Option('--max-tokens <number>', 'at most so many').argParser(integer('--max-tokens', 1)))
    .addOption(new Option('--temperature <number>', '0 for the likeliest answer').argParser(number('--temperature')))
    .addOption(new Option('--seed <number>', 'the same answer again').argParser(integer('--seed', 0)))
    .option('--system <text>', 'what the model is told before')
    .action(async (model: string, prompt: string | undefined, options: ClientOptions & RunOptions) => {
      const api = shell.api(options, 'tenant');
      if (prompt === undefined && process.stdin.isTTY && process.stdout.isTTY && options.json !== true) return chat(api, model, options, { input: process.stdin, output: process.stdout, colors: shell.colors });
      const asked = prompt ?? await text(process.stdin);
      if (options.json === true) shell.print(JSON.stringify(await answer(api, model, asked, options), null, 2));
      else await run(api, model, asked, options, part => process.stdout.write(process.stdout.isTTY ? printable(part) : part));
    });
  client(program, 'bench', 'ask a running Weft many things at once, and time the answers', ['weft bench                       # every model that the key may call, in turn', 'weft bench my-adapter other-adapter --concurrency 32 --requests 256'])
    .argument('[models...]', 'which (default: all)')
    .addOption(new Option('--requests <number>', 'how many').argParser(integer('--requests', 1)).default(32))
    .addOption(new Option('--concurrency <number>', 'how many at a time').argParser(integer('--concurrency', 1)).default(8))
    .addOption(new Option('--max-tokens <number>', 'of an answer').argParser(integer('--max-tokens', 1)).default(64))
    .option('--prompt <text>', 'what is asked', 'Tell me about yourself.')
    .option('--ignore-eos', 'let answers go on to --max-tokens, so that runs have as many tokens')
    .action((models: string[], options: ClientOptions & BenchOptions) => shell.show(options, bench(shell.api(options, 'tenant'), models, options)));
}
