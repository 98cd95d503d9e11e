import { Controller, Get, Query, Req, Res } from '@nestjs/common';
import type { ClientReadableStream } from '@grpc/grpc-js';
import type { executorV1 } from '@weft/contracts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { RequireScope } from './auth.guard.js';
import { parse } from './dto/parse.js';
import type { ExecutorLink } from './executor-link.js';
import { Fleet } from './fleet.js';
import { InFlight } from './in-flight.js';
import { SseWriter } from './sse.js';

const INTERVAL_MS = 100;
const INTERVAL_MS_MIN = 50;
const INTERVAL_MS_MAX = 10_000;
/** How soon an executor that has come is watched too. */
const LOOK_AGAIN_MS = 1000;

export const liveQuery = z.object({ interval_ms: z.coerce.number().int().min(INTERVAL_MS_MIN).max(INTERVAL_MS_MAX).default(INTERVAL_MS) });

const adapters = z.array(z.object({ digest: z.string(), weight: z.number() })).describe('None: the base');
export const pictureSchema = z.object({
  object: z.literal('picture'), executor: z.string(), at_ms: z.number().describe('Unix milliseconds'),
  step: z.int(), step_ms: z.number(), waiting: z.int(), running: z.int(), tokens_per_second: z.number(), tokens_out: z.int(), preemptions: z.int(),
  page_bytes: z.int(), weight_bytes: z.int(),
  holders: z.array(z.object({
    kind: z.string().describe('free, sequence, adapter, prefix, retired, expert'), tenant: z.string().optional(), request_id: z.string().optional(), choice: z.int().optional(), digest: z.string().optional(), users: z.int().optional().describe('Adapters in the pool that use an expert'),
  })),
  map: z.array(z.int()).describe('The pool in page order, run by run: index of a holder, pages'),
  batch: z.array(z.object({
    request_id: z.string(), choice: z.int(), tenant: z.string(), adapters, phase: z.string().describe('prefill, decode'),
    rows: z.int(), prompt_tokens: z.int(), generated_tokens: z.int(), pages: z.int(),
  })),
  queue: z.array(z.object({ request_id: z.string(), tenant: z.string(), adapters, adapter_state: z.string().describe('stored, loading, resident'), waited_ms: z.number() })),
});

/** What the engines do, as it happens: for people who watch. */
@Controller('v1/live')
@RequireScope('admin')
export class LiveController {
  constructor(private readonly fleet: Fleet, private readonly inFlight: InFlight) {}

  /** Pictures of every executor, none faster than the client reads. Ends when the client hangs up or the server stops. */
  @Get()
  async watch(@Query() query: unknown, @Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { interval_ms: intervalMs } = parse(liveQuery, query);
    const streams = new Map<ExecutorLink, ClientReadableStream<executorV1.Picture>>();
    const over = new AbortController();
    const events = new SseWriter(reply, over.signal);
    let behind = false;
    const show = (link: ExecutorLink, picture: executorV1.Picture): void => {
      if (behind || over.signal.aborted || link.description === null) return;
      behind = !events.send(JSON.stringify(pictureCard(link.description.executorId, picture)));
      if (behind) void events.drained().then(() => { behind = false; }, () => over.abort());
    };
    const look = (): void => {
      if (this.inFlight.draining) return over.abort();
      for (const link of this.fleet.links) {
        if (link.description === null || streams.has(link)) continue;
        const stream = link.observe({ intervalMs });
        streams.set(link, stream);
        stream.on('data', (picture: executorV1.Picture) => show(link, picture));
        stream.on('error', () => undefined);       // a status follows
        stream.on('status', () => streams.delete(link));
      }
    };
    request.raw.once('close', () => over.abort());
    reply.raw.once('close', () => over.abort());
    const timer = setInterval(look, LOOK_AGAIN_MS);
    over.signal.addEventListener('abort', () => {
      clearInterval(timer);
      for (const stream of streams.values()) stream.cancel();
      reply.raw.end();
    });
    look();
  }
}

function pictureCard(executor: string, picture: executorV1.Picture): z.output<typeof pictureSchema> {
  const { step, stepMs, waiting, running, tokensPerSecond, tokensOut, preemptions, pageBytes, weightBytes, holders, map, batch, queue } = picture;
  return {
    object: 'picture', executor, at_ms: Date.now(), step: Number(step), step_ms: stepMs, waiting, running, tokens_per_second: tokensPerSecond, tokens_out: Number(tokensOut),
    preemptions: Number(preemptions), page_bytes: pageBytes, weight_bytes: Number(weightBytes), holders: holders.map(holderCard), map,
    batch: batch.map(({ requestId, choice, tenant, adapters: uses, phase, rows, promptTokens, generatedTokens, pages }) =>
      ({ request_id: requestId, choice, tenant, adapters: uses, phase, rows, prompt_tokens: promptTokens, generated_tokens: generatedTokens, pages })),
    queue: queue.map(({ requestId, tenant, adapters: uses, adapterState, waitedMs }) => ({ request_id: requestId, tenant, adapters: uses, adapter_state: adapterState, waited_ms: waitedMs })),
  };
}

/** Only what its kind has. */
function holderCard({ kind, tenant, requestId, choice, digest, users }: executorV1.Holder): z.output<typeof pictureSchema>['holders'][number] {
  if (kind === 'sequence') return { kind, tenant, request_id: requestId, choice };
  if (kind === 'expert') return { kind, digest, users };
  return digest === '' ? { kind } : { kind, digest };
}
