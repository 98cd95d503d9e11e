/** `weft run` without a prompt: a conversation in the terminal, which goes on when the adapter changes. */
import { createInterface } from 'node:readline';
import { describeError, toWeftError } from '@weft/contracts';
import type { Api, Model } from '../api.js';
import { printable } from '../table.js';
import type { Colors } from '../terminal/colors.js';
import { streamed, type Message, type RunOptions } from './run.js';

export interface ChatIo { input: NodeJS.ReadStream; output: NodeJS.WriteStream; colors: Colors }

const HELP = `/adapter NAME   go on with another adapter, or the base, in the same conversation
/adapter        which there are
/system TEXT    what the model is told before the conversation; empty: nothing
/history        the conversation so far
/clear          begin anew
/exit           leave (Ctrl-D too); Ctrl-C stops an answer`;

/** Until /exit or the input's end. */
export async function chat(api: Api, model: string, options: RunOptions, { input, output, colors }: ChatIo): Promise<void> {
  const conversation = new Conversation(api, model, options);
  await conversation.check(model);
  const lines = createInterface({ input, output, terminal: true, completer: (line: string) => conversation.complete(line) });
  let answering: AbortController | undefined;
  lines.on('SIGINT', () => {
    if (answering !== undefined) answering.abort();
    else lines.close();
  });
  output.write(`${colors.dim('/help says what there is')}\n`);
  const prompt = (): void => { lines.setPrompt(`${colors.cyan(conversation.model)}> `); lines.prompt(); };
  prompt();
  for await (const line of lines) {
    if (line.trim() === '/exit') break;
    answering = new AbortController();
    try {
      await conversation.take(line.trim(), text => output.write(text), answering.signal);
    } catch (thrown) {
      output.write(`${colors.red(`weft: ${describeError(toWeftError(thrown))}`)}\n`);
    }
    answering = undefined;
    prompt();
  }
  lines.close();
}

export class Conversation {
  #messages: Message[] = [];
  #system = '';
  #names: string[] = [];

  constructor(private readonly api: Api, public model: string, private readonly options: RunOptions) { this.#system = options.system ?? ''; }

  /** Throws model_not_found. */
  async check(model: string): Promise<void> {
    await this.api.get(`/v1/models/${model.split('/').map(encodeURIComponent).join('/')}`);
    this.#names = (await this.api.get<{ data: Model[] }>('/v1/models')).data.map(({ id }) => id);
  }

  complete(line: string): [string[], string] {
    const [, typed] = /^\/adapter +(.*)$/.exec(line) ?? [];
    if (typed !== undefined) return [this.#names.filter(name => name.startsWith(typed)), typed];
    return [['/adapter ', '/system ', '/history', '/clear', '/help', '/exit'].filter(command => command.startsWith(line)), line];
  }

  /** A command, or what is said. An answer that is stopped stays in the conversation as far as it came; one that fails leaves no trace. */
  async take(line: string, write: (text: string) => void, signal: AbortSignal): Promise<void> {
    const [, command, rest = ''] = /^\/(\w+) *(.*)$/s.exec(line) ?? [];
    if (line === '') return;
    if (command === undefined) return this.#ask(line, write, signal);
    switch (command) {
      case 'adapter': return this.#adapter(rest, write);
      case 'system': this.#system = rest; return;
      case 'clear': this.#messages = []; return;
      case 'history': for (const { role, content } of this.#sent()) write(`${role}: ${printable(content)}\n`); return;
      case 'help': write(`${HELP}\n`); return;
      default: write(`there is no /${command}\n${HELP}\n`);
    }
  }

  #sent(): Message[] { return [...(this.#system === '' ? [] : [{ role: 'system' as const, content: this.#system }]), ...this.#messages]; }

  async #adapter(name: string, write: (text: string) => void): Promise<void> {
    if (name !== '') {
      await this.check(name);
      this.model = name;
      return;
    }
    await this.check(this.model);
    write(`${this.#names.join('\n')}\n`);
  }

  async #ask(content: string, write: (text: string) => void, signal: AbortSignal): Promise<void> {
    const before = this.#messages;
    this.#messages = [...before, { role: 'user', content }];
    let answer = '';
    try {
      await streamed(this.api, this.model, this.#sent(), this.options, text => { answer += text; write(printable(text)); }, signal);
    } catch (error) {
      if (!signal.aborted) {
        this.#messages = before;
        if (answer !== '') write('\n');
        throw error;
      }
    }
    write('\n');
    this.#messages = [...this.#messages, { role: 'assistant', content: answer }];
  }
}
