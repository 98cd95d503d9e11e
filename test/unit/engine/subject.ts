/** An engine on a fixture model, and what it said: tokens, and the bits of every log-probability beside them. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Header, LOGIT_TILE, OPS, SAMPLE_WORDS, Sample } from '@weft/kernels';
import { createEngine, type EngineHost, type EngineRequest, type Terminal, type TokenEvent } from '@weft/engine';
import { afterAll } from 'vitest';

export const fixtures = join(import.meta.dirname, '../../fixtures/models');
const cache = mkdtempSync(join(tmpdir(), 'weft-bits-'));
afterAll(() => rmSync(cache, { recursive: true, force: true }));

export interface Setting {
  threads: number; depth: 1 | 2; stepTokens: number; poolBytes?: number; maxSequences?: number; isa?: string; weights?: 'stored' | 'bf16' | 'int8'; activations?: 'f32' | 'bf16';
  kv?: 'f16' | 'int8';
}
/** One choice's answer. */
export interface Answer { tokens: number[]; bits: string[]; scores: number[]; hidden: number[]; terminal?: Terminal }

export class Subject {
  host!: EngineHost;
  readonly digests: string[] = [];
  readonly #named = new Map<string, string>();
  /** Of every logits row since the last look, all of its bytes; only at depth 1, with steps of at most a tile of rows. */
  readonly logitHashes: string[] = [];
  readonly #answers = new Map<string, Answer>();
  checkEveryStep = false;
  #left = 0;
  #done: () => void = () => undefined;

  /** With the model's adapters, in the order of their names. */
  async open(model: string, { weights = 'stored', ...options }: Setting): Promise<this> {
    this.host = await createEngine({
      ...(weights !== 'stored' && { weights }),
      modelDir: join(fixtures, model, 'base'), adapterCacheDir: cache, maxSequences: 16, poolBytes: 64 * 2 ** 20, lookaheadTokens: 1, ...options,
      listener: {
        onStep: (_step, events) => {
          for (const event of events) this.#note(event);
          if (this.checkEveryStep) this.host.engine.checkInvariants();
        },
        onTerminal: terminal => {
          for (const [key, answer] of this.#answers) if (key.startsWith(`${terminal.requestId}/`)) answer.terminal = terminal;
          if (--this.#left === 0) this.#done();
        },
      },
    });
    if (options.depth === 1 && options.stepTokens <= LOGIT_TILE) this.#watchLogits();
    for (const name of readdirSync(join(fixtures, model, 'adapters')).sort()) {
      // One unit of a large rank may be more than a tiny model's page of int8 holds.
      const added = this.host.library.addFolder(join(fixtures, model, 'adapters', name));
      const digest = await added.then(a => a.digest, (error: Error) => { if (!/does not fit into a page/.test(error.message)) throw error; });
      if (digest === undefined) continue;
      this.digests.push(digest);
      this.#named.set(name, digest);
    }
    return this;
  }

  /** Of an adapter by its folder. */
  digestOf(name: string): string { return this.#named.get(name)!; }

  /** The logits of a step lie where the first sample op of its list reads them, until the next step is submitted. */
  #watchLogits(): void {
    const { device } = this.host, submit = device.submit.bind(device);
    device.submit = async (list, options) => {
      const result = await submit(list, options);
      const { words } = list;
      let at = 0;
      while (words[at] !== OPS.sample.code) at += words[at + 1]!;
      const params = at + 2 + 2 * Object.keys(OPS.sample.operands).length, names = Object.keys(OPS.sample.params);
      const param = (name: string): number => words[params + names.indexOf(name)]!;
      const memory = device.host(device.buffer(words[at + 2]!)), start = words[at + 3]! * 4;
      const frame = new Int32Array(device.host(options.bindings.frame!)), rows = frame[Header.logits]!, records = words[at + 5]!;
      for (let row = 0; row < rows; row++) {
        this.logitHashes.push(createHash('sha1').update(new Uint8Array(memory, start + row * param('ldl') * 4, frame[records + row * SAMPLE_WORDS + Sample.vocab]! * 4)).digest('hex'));
      }
      return result;
    };
  }

  #note(event: TokenEvent): void {
    const answer = this.#answers.get(`${event.requestId}/${event.choice}`)!;
    answer.tokens.push(...event.tokens);
    const add = (value: number, top: { ids: number[]; logprobs: number[] } | undefined): void => {
      answer.scores.push(value);
      answer.bits.push(bits([value, ...(top?.logprobs ?? [])]) + (top?.ids.join(',') ?? ''));
    };
    event.promptLogprobs?.forEach((value, i) => add(value, event.promptTop?.[i]));
    event.logprobs?.forEach((value, i) => add(value, event.top?.[i]));
    if (event.hidden) { answer.hidden.push(...event.hidden); answer.bits.push(bits([...event.hidden])); }
  }

  /** Answers by `request id/choice`, errors included. */
  async hear(requests: EngineRequest[]): Promise<Map<string, Answer>> {
    this.#answers.clear();
    this.#left = requests.length;
    const done = new Promise<void>(resolve => { this.#done = resolve; });
    for (const r of requests) {
      for (let choice = 0; choice < r.n; choice++) this.#answers.set(`${r.id}/${choice}`, { tokens: [], bits: [], scores: [], hidden: [] });
      this.host.engine.submit(r);
    }
    await done;
    this.host.engine.checkInvariants();
    return new Map(this.#answers);
  }

  /** First choices by request id, without what differs from run to run. Throws the first error. */
  async ask(requests: EngineRequest[]): Promise<Map<string, Omit<Answer, 'terminal'>>> {
    const answers = await this.hear(requests);
    return new Map(requests.map(r => {
      const { terminal, ...answer } = answers.get(`${r.id}/0`)!;
      if (terminal!.error) throw terminal!.error;
      return [r.id, answer];
    }));
  }
}

const bits = (values: number[]): string => Buffer.from(Float32Array.from(values).buffer).toString('hex');
