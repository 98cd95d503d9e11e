/** A chat template with its variables, as transformers runs it. Plain JavaScript: a worker thread loads it. */
import { Environment, Interpreter, Template } from '@huggingface/jinja';
import { strftime } from './strftime.js';

/** A template asks for ranges over messages and digits; a huge one is a mistake that would eat the memory. */
const MAX_RANGE = 100_000;
/** Templates that are kept parsed. */
const MAX_PARSED = 64;

/** What a template itself refuses, by raise_exception. */
export class TemplateRefusal extends Error {}

export class TemplateRunner {
  /** By source; least recently used first. */
  #parsed = new Map();

  run({ source, variables, nowMs, parseOnly = false }) {
    const template = this.#parse(source);
    if (parseOnly) return '';
    const globals = {
      true: true, false: false, none: null, True: true, False: false, None: null,
      range, strftime_now: format => strftime(new Date(nowMs), format),
      raise_exception: message => { throw new TemplateRefusal(String(message)); },
    };
    const environment = new Environment();
    for (const [name, value] of Object.entries({ ...globals, ...variables })) environment.set(name, value);
    return String(new Interpreter(environment).run(template).value);
  }

  #parse(source) {
    const parsed = this.#parsed.get(source) ?? parseTemplate(source);
    this.#parsed.delete(source);
    this.#parsed.set(source, parsed);
    if (this.#parsed.size > MAX_PARSED) this.#parsed.delete(this.#parsed.keys().next().value);
    return parsed;
  }
}

export const parseTemplate = source => new Template(source).parsed;

function range(start, stop, step = 1) {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  const length = Math.max(0, Math.ceil((to - from) / step));
  if (!(length <= MAX_RANGE)) throw new Error(`range() of ${length} numbers; at most ${MAX_RANGE}`);
  return Array.from({ length }, (_, i) => from + i * step);
}
