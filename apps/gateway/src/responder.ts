import { Inject, Injectable } from '@nestjs/common';
import { WeftError, type executorV1 } from '@weft/contracts';
import type { FastifyReply } from 'fastify';
import type { Delta } from './choice.js';
import { Chunks } from './chunks.js';
import { asWeftError } from './errors.js';
import { Fleet } from './fleet.js';
import { Generation, type GenerationJob, type Query } from './generation.js';
import { InFlight } from './in-flight.js';
import { Ledger } from './ledger.js';
import { Limits, type Ask, type Lease } from './limits.js';
import { Metrics } from './metrics.js';
import { servedName } from './model-directory.js';
import { chatShape, completionShape, usage, weft, type Envelope, type ResponseShape, type Served } from './response.js';
import { SseWriter } from './sse.js';
import { GATEWAY_ID } from './tokens.js';

const SHAPES = { completions: completionShape, chat: chatShape };

/**
 * Carries one generating request from admission to its last byte: limits, ledger, executor, answer. Whatever ends it, the
 * lease is given back, the ledger's rows are closed and the executor is told.
 */
@Injectable()
export class Responder {
  constructor(
    private readonly fleet: Fleet, @Inject(GATEWAY_ID) private readonly gatewayId: string,
    private readonly inFlight: InFlight, private readonly limits: Limits, private readonly ledger: Ledger, private readonly metrics: Metrics,
  ) {}

  /** `prepare` renders and tokenizes: it runs inside, so that a stop waits for it and a hang-up ends it. */
  async respond(query: Query, reply: FastifyReply, prepare: () => Promise<GenerationJob>): Promise<void> {
    const acceptedMs = performance.now();
    const abort = this.inFlight.enter();
    const onClose = (): void => { if (!reply.raw.writableFinished) abort.abort(new WeftError('cancelled', 'The client hung up.')); };
    reply.raw.once('close', onClose);
    const tracked = this.metrics.track(servedName(query.model));
    const answer = new Answer(query, reply, () => tracked.firstToken());
    const lease = this.limits.acquire(query.caller);
    let generation: Generation | undefined;
    let code = 'ok';
    const settle = async (): Promise<void> => {
      const { promptTokens, completionTokens } = generation?.outcome ?? NOTHING;
      lease.settle(promptTokens + completionTokens);
      await generation?.settle(code);
    };
    try {
      this.ledger.admit();
      this.#admit(lease, reply, () => lease.admit());
      const job = await prepare();
      this.#admit(lease, reply, () => lease.reserve(askOf(job, this.fleet.known.maxModelLen)));
      abort.signal.throwIfAborted();
      generation = new Generation(job);
      const description = generation.start(this.fleet, this.ledger, this.gatewayId);
      await answer.write({ generation, signal: abort.signal, fingerprint: fingerprint(description), settle });
    } catch (thrown) {
      const error = asWeftError(thrown);
      code = error.code;
      generation?.stop();
      await settle();
      await answer.fail(error, generation?.outcome.completionTokens ?? 0);
    } finally {
      reply.raw.off('close', onClose);
      tracked.end();
      this.inFlight.leave(abort);
      this.metrics.finished(query.route, code, generation?.outcome ?? NOTHING, { acceptedMs, firstTokenMs: answer.firstTokenMs, endMs: performance.now() });
    }
  }

  /** Whether it is let in or not, the client learns how much is left. */
  #admit(lease: Lease, reply: FastifyReply, admit: () => void): void {
    try {
      admit();
    } finally {
      const headers = lease.headers();
      if (headers !== null) reply.headers(headers);
    }
  }
}

const NOTHING = { promptTokens: 0, cachedTokens: 0, completionTokens: 0, generatedTokens: 0, queueMs: 0, coldStartMs: 0 };

/** What a request may use. One that names no number may use the rest of the context, and makes do with less. */
function askOf({ prompts, params, maxTokens }: GenerationJob, contextTokens: number): Ask {
  const promptTokens = prompts.reduce((sum, { ids }) => sum + ids.length, 0);
  const choices = prompts.length * params.n;
  const named = params.maxTokens !== undefined || maxTokens > 0;
  if (named) return { tokensMin: promptTokens + choices * maxTokens, tokensMax: promptTokens + choices * maxTokens };
  return { tokensMin: promptTokens + choices, tokensMax: params.n * prompts.length * contextTokens };
}

/** Build, base and device: equal fingerprints answer an equal seed with equal tokens. */
const fingerprint = ({ build, baseDigest, device }: executorV1.Description): string => `weft-${build}-${baseDigest.slice(0, 12)}-${device.replaceAll(' ', '-')}`;

/** A request on its way: where its tokens come from, and what has to be done before its last byte. */
interface Delivery { generation: Generation; signal: AbortSignal; fingerprint: string; settle(): Promise<void> }

/** The bytes of one response, whole or streamed. */
class Answer {
  firstTokenMs: number | null = null;
  readonly #query: Query;
  readonly #served: Served;
  readonly #reply: FastifyReply;
  readonly #onFirstToken: () => void;
  #sse: SseWriter | null = null;

  constructor(query: Query, reply: FastifyReply, onFirstToken: () => void) {
    this.#query = query;
    this.#served = { adapter: servedName(query.model), digest: query.model.adapter?.digest ?? query.model.baseDigest };
    this.#reply = reply;
    this.#onFirstToken = onFirstToken;
  }

  async write(delivery: Delivery): Promise<void> {
    const { requestId, route, modelName, tokenizer, stream } = this.#query;
    const { adapter, digest } = this.#served;
    const { generation, fingerprint } = delivery;
    const shape = SHAPES[route](tokenizer, generation);
    const envelope = { id: `${shape.idPrefix}-${requestId}`, created: Math.floor(Date.now() / 1000), model: modelName, system_fingerprint: fingerprint };
    if (adapter !== null) this.#reply.header('x-weft-adapter', adapter);
    this.#reply.header('x-weft-digest', digest);
    if (stream) await this.#stream(delivery, shape, envelope);
    else await this.#whole(delivery, shape, envelope);
  }

  /** Before the head an error is a status, afterwards an event. A client that hung up hears neither. */
  async fail(error: WeftError, billedTokens: number): Promise<void> {
    const final = billedTokens > 0 ? new WeftError(error.code, error.message, { ...error.details, final: true }) : error;
    if (this.#sse === null) throw final;
    if (error.code === 'internal_error') console.error(error);
    await this.#sse.fail(final);
  }

  async #whole({ generation, signal, settle }: Delivery, shape: ResponseShape, envelope: Envelope): Promise<void> {
    const { prompts, params } = generation.job;
    const choices = Array.from({ length: prompts.length * params.n }, (_, index): Delta => ({ index, text: '', tokenIds: [], logprobs: [] }));
    for await (const deltas of generation.deltas(signal)) {
      for (const delta of deltas) {
        this.#noteToken(delta);
        const choice = choices[delta.index]!;
        choice.text += delta.text;
        for (const id of delta.tokenIds) choice.tokenIds.push(id);
        for (const token of delta.logprobs) choice.logprobs.push(token);
        if (delta.finishReason !== undefined) choice.finishReason = delta.finishReason;
      }
    }
    await generation.opened();
    await settle();
    const { outcome } = generation;
    await this.#reply.status(200).send({
      ...envelope, object: shape.object.whole, choices: choices.map(choice => shape.choice(choice)), usage: usage(outcome), weft: weft(this.#served, outcome), ...shape.beside,
    });
  }

  async #stream({ generation, signal, settle }: Delivery, shape: ResponseShape, envelope: Envelope): Promise<void> {
    const { prompts, params } = generation.job;
    const chunks = new Chunks(envelope, shape, params.includeUsage);
    let open = prompts.length * params.n;
    for await (const deltas of generation.deltas(signal)) {
      const sse = this.#sse ?? await this.#begin(generation, signal, shape, chunks, open);
      for (const delta of deltas) {
        this.#noteToken(delta);
        if (delta.finishReason !== undefined) open--;
        const last = open === 0 ? { weft: weft(this.#served, generation.outcome) } : undefined;
        if (!sse.send(chunks.delta(delta, last))) await sse.drained();
      }
    }
    const sse = this.#sse!, { outcome } = generation;
    if (params.includeUsage && !sse.send(JSON.stringify({ ...envelope, object: shape.object.chunk, choices: [], usage: usage(outcome), weft: weft(this.#served, outcome) }))) await sse.drained();
    await settle();
    await sse.end();
  }

  /** The head waits for the ledger, and for the first tokens: until then a failure is still a status. */
  async #begin(generation: Generation, signal: AbortSignal, shape: ResponseShape, chunks: Chunks, choices: number): Promise<SseWriter> {
    await generation.opened();
    const sse = this.#sse = new SseWriter(this.#reply, signal);
    if (shape.first !== undefined) {
      for (let index = 0; index < choices; index++) if (!sse.send(chunks.choice(shape.first(index), index === 0 ? shape.beside : {}))) await sse.drained();
    }
    return sse;
  }

  #noteToken(delta: Delta): void {
    if (this.firstTokenMs !== null || delta.tokenIds.length === 0) return;
    this.firstTokenMs = performance.now();
    this.#onFirstToken();
  }
}
