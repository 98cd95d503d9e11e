/** Messages to the prompt that the model was trained on: Jinja templates, rendered as transformers renders them. */
import { WeftError } from '@weft/contracts';
import { tokenizerInvalid } from './errors.js';
import type { TemplateSource } from './files.js';
import type { NamedTokens } from './special-tokens.js';
import { parseTemplate, TemplateRefusal, TemplateRunner, type TemplateJob } from './template-run.js';
import { TemplateExhausted } from './template-thread.js';

export interface ContentPart { type: string; text?: string; [key: string]: unknown }

/** A message as the OpenAI API has it. Templates see every other field as it is. */
export interface ChatMessage {
  role: string;
  content?: string | readonly ContentPart[] | null;
  tool_calls?: readonly { function?: { name?: string; arguments?: unknown }; [key: string]: unknown }[];
  [key: string]: unknown;
}

export interface RenderOptions {
  tools?: readonly unknown[];
  /** End with the header of an assistant's message. Default true; false when the final message is continued. */
  addGenerationPrompt?: boolean;
  /** End inside the last message, so that the model goes on with it. */
  continueFinalMessage?: boolean;
  /** Template name. Default `tool_use` where there are tools and such a template, else `default`. */
  template?: string;
  /** More variables for the template (`enable_thinking`, `documents`, …). */
  variables?: Record<string, unknown>;
}

/** How a template reads `content`: as a string, or only as a list of parts (those of models that also see images). */
type ContentForm = 'string' | 'parts';

/** Names that a request's variables must not take. */
const RESERVED = new Set(['messages', 'tools', 'add_generation_prompt', 'namespace', 'range', 'raise_exception', 'strftime_now',
  'true', 'false', 'none', 'True', 'False', 'None']);
/** A template that took all of its time is not tried again for so long: others wait for the same thread. */
const EXHAUSTED_MS = 60_000;
const CONTINUE_TAG = 'CONTINUE_FINAL_MESSAGE_TAG ';

/** Where templates run: here, or where one that a tenant wrote can do no harm (TemplateThread). */
export interface Runner { run(job: TemplateJob): string | Promise<string> }

interface ParsedTemplate { source: string; form?: ContentForm; exhausted?: { error: TemplateExhausted; untilMs: number } }

export class ChatTemplates {
  readonly #templates = new Map<string, ParsedTemplate>();
  readonly #tokens: NamedTokens;
  readonly #now: () => Date;
  readonly #runner: Runner;
  /** Why a template of the checkpoint can't be used. Rendering with it throws this. */
  readonly problem: WeftError | undefined;

  /** runner: where templates that nobody here vouches for run, and are parsed: that takes any time too. */
  constructor(readonly sources: ReadonlyMap<string, TemplateSource>, tokens: NamedTokens, now: () => Date = () => new Date(), runner?: Runner) {
    this.#tokens = tokens;
    this.#now = now;
    this.#runner = runner ?? new TemplateRunner();
    for (const [name, { text, file }] of sources) {
      try {
        if (runner === undefined) parseTemplate(text);
        this.#templates.set(name, { source: text });
      } catch (cause) {
        this.problem ??= tokenizerInvalid(file, 'chat_template', `"${name}" can't be parsed: ${(cause as Error).message}`, cause);
      }
    }
  }

  /** Names of the templates that can be used. */
  get names(): string[] { return [...this.#templates.keys()]; }

  /**
   * Errors: `chat_template_missing`; `invalid_value` with the request's parameter, also for what the template itself
   * refuses by raise_exception; `tokenizer_invalid` for a template that can't be parsed.
   */
  async render(messages: readonly ChatMessage[], options: RenderOptions = {}): Promise<string> {
    const { tools, continueFinalMessage = false, addGenerationPrompt = !continueFinalMessage, variables = {} } = options;
    if (messages.length === 0) throw invalidValue('messages', 'There must be at least one message.');
    if (continueFinalMessage && addGenerationPrompt) {
      throw invalidValue('continue_final_message', 'A final message is either continued or followed by a generation prompt.');
    }
    for (const name of Object.keys(variables)) {
      if (RESERVED.has(name)) throw invalidValue(`chat_template_kwargs.${name}`, `"${name}" is set by the server.`);
    }
    const template = this.#select(options.template, tools);
    template.form ??= await this.#probe(template);
    const chat = messages.map((message, i) => forTemplate(message, template.form!, `messages[${i}]`));
    const context = { documents: null, ...variables, messages: chat, tools: tools ?? null, add_generation_prompt: addGenerationPrompt };
    if (!continueFinalMessage) return this.#run(template, context);

    const last = tagLastText(chat);
    return cutAtTag(await this.#run(template, context), last);
  }

  #select(name: string | undefined, tools: readonly unknown[] | undefined): ParsedTemplate {
    const wanted = name ?? (tools && this.#templates.has('tool_use') ? 'tool_use' : 'default');
    const template = this.#templates.get(wanted);
    if (template !== undefined) return template;
    if (this.problem !== undefined) throw this.problem;
    const known = this.names.length > 0 ? `It has: ${this.names.join(', ')}.` : 'Use /v1/completions, or add chat_template.jinja to the checkpoint.';
    throw new WeftError('chat_template_missing', `The model has no chat template "${wanted}". ${known}`, { param: 'model' });
  }

  async #run(template: ParsedTemplate, context: Record<string, unknown>): Promise<string> {
    const { source, exhausted } = template;
    if (exhausted !== undefined && performance.now() < exhausted.untilMs) throw exhausted.error;
    try {
      return await this.#runner.run({ source, variables: { ...this.#tokens, ...context }, nowMs: this.#now().getTime() });
    } catch (error) {
      if (error instanceof TemplateExhausted) template.exhausted = { error, untilMs: performance.now() + EXHAUSTED_MS };
      if (error instanceof WeftError) throw error;
      const { message } = error as Error;
      if (error instanceof TemplateRefusal) throw invalidValue('messages', message);
      throw new WeftError('invalid_value', `The chat template can't render these messages: ${message}`, { param: 'messages', cause: error });
    }
  }

  /** Asks the template itself: does the text of a string content appear, or only that of a part? */
  async #probe(template: ParsedTemplate): Promise<ContentForm> {
    const text = 'weft-content-probe';
    const understands = async (content: string | ContentPart[]): Promise<boolean> => {
      try {
        const context = { messages: [{ role: 'user', content }], tools: null, documents: null, add_generation_prompt: false };
        return (await this.#run(template, context)).includes(text);
      } catch {
        return false;  // a form that it can't render is one that it does not understand
      }
    };
    return !await understands(text) && await understands([{ type: 'text', text }]) ? 'parts' : 'string';
  }
}

/** A message without undefined fields, its content in the template's form, and arguments of tool calls as objects. */
function forTemplate(message: ChatMessage, form: ContentForm, param: string): Record<string, unknown> {
  const fields = Object.fromEntries(Object.entries(message).filter(([, value]) => value !== undefined));
  const { tool_calls: calls } = message;
  return {
    ...fields, content: contentFor(message.content, form, `${param}.content`),
    ...(Array.isArray(calls) ? { tool_calls: calls.map(withArgumentsObject) } : {}),
  };
}

/** Parts are paragraphs. An assistant's null content is the empty text: Python would print "None". */
function contentFor(content: ChatMessage['content'], form: ContentForm, param: string): string | ContentPart[] {
  const texts = typeof content === 'string' ? [content] : (content ?? []).map((part, i) => textOf(part, `${param}[${i}]`));
  return form === 'parts' ? texts.map(text => ({ type: 'text', text })) : texts.join('\n');
}

function textOf(part: ContentPart, param: string): string {
  const text = part.type === 'text' ? part.text : part.type === 'refusal' ? part.refusal : undefined;
  if (typeof text !== 'string') throw invalidValue(param, `Content of type ${JSON.stringify(part.type)} is not supported; this model reads text.`);
  return text;
}

/** The API writes arguments as JSON text, templates read objects. Broken JSON (a call that was cut off) stays as it is. */
function withArgumentsObject(call: NonNullable<ChatMessage['tool_calls']>[number]): unknown {
  const text = call.function?.arguments;
  if (typeof text !== 'string') return call;
  let parsed: unknown;
  try {
    parsed = text.trim() === '' ? {} : JSON.parse(text);
  } catch {
    return call;
  }
  return { ...call, function: { ...call.function, arguments: parsed } };
}

/** Appends the tag to the last message's last text, and returns that text as it was. */
function tagLastText(chat: Record<string, unknown>[]): string {
  const message = chat.at(-1)!;
  const { content } = message;
  const part = Array.isArray(content) ? (content as ContentPart[]).at(-1) : undefined;
  const text = part?.text ?? content;
  if (typeof text !== 'string' || text === '') throw invalidValue('messages', 'The final message has no text to continue.');
  if (part !== undefined) part.text = text + CONTINUE_TAG;
  else message.content = text + CONTINUE_TAG;
  return text;
}

/** As transformers does it: where the template trims the message, the blanks before the tag go too. */
function cutAtTag(rendered: string, text: string): string {
  const at = rendered.lastIndexOf(CONTINUE_TAG.trim());
  if (at < 0 || !rendered.includes(text.trim())) {
    throw invalidValue('continue_final_message', "The chat template changes the final message, so it can't be continued.");
  }
  const kept = rendered.slice(0, at);
  return rendered.startsWith(CONTINUE_TAG, at) ? kept : kept.trimEnd();
}

const invalidValue = (param: string, message: string) => new WeftError('invalid_value', message, { param });
