import { Controller, Get, Header, Res } from '@nestjs/common';
import { VERSION } from '@weft/contracts';
import type { FastifyReply } from 'fastify';
import { Public, RequireScope } from './auth.guard.js';
import { ExecutorClient } from './executor-client.js';
import { InFlight } from './in-flight.js';
import { Metrics } from './metrics.js';

@Controller()
export class StatusController {
  constructor(private readonly executor: ExecutorClient, private readonly inFlight: InFlight, private readonly metrics: Metrics) {}

  /** The process answers. */
  @Get('health/live') @Public()
  live(): object { return { status: 'ok' }; }

  /** Requests are served: 503 while the model loads, without an executor, and while shutting down. */
  @Get(['health', 'health/ready']) @Public()
  ready(@Res({ passthrough: true }) reply: FastifyReply): object {
    const status = this.inFlight.draining ? 'draining' : this.executor.description === null ? 'no executor' : 'ok';
    if (status !== 'ok') reply.status(503);
    return { status };
  }

  @Get('version') @Public()
  version(): object { return { version: VERSION }; }

  @Get('metrics') @RequireScope('inference')
  async scrape(@Res() reply: FastifyReply): Promise<void> {
    await reply.header('content-type', this.metrics.contentType).send(await this.metrics.text());
  }

  /** What the executors serve and who owns their pools' pages. */
  @Get('v1/executors') @RequireScope('admin') @Header('cache-control', 'no-store')
  executors(): object {
    const { description, load } = this.executor;
    if (description === null) return { object: 'list', data: [], has_more: false };
    const { adapters, baseDigest, device, maxModelLen, pageBytes, build } = description;
    return {
      object: 'list', has_more: false,
      data: [{
        object: 'executor', base_digest: baseDigest, device, build, max_model_len: maxModelLen, page_bytes: pageBytes,
        running: load?.running ?? 0, waiting: load?.waiting ?? 0, tokens_per_second: load?.tokensPerSecond ?? 0,
        pages: { total: load?.pagesTotal ?? 0, free: load?.pagesFree ?? 0, owners: load?.owners ?? [] },
        adapters: adapters.map(({ bytes, targetModules, ...card }) => ({ ...card, bytes: Number(bytes), target_modules: targetModules })),
      }],
    };
  }
}
