import { Controller, Get, Header, Res } from '@nestjs/common';
import { VERSION } from '@weft/contracts';
import type { FastifyReply } from 'fastify';
import { Public, RequireScope } from './auth.guard.js';
import type { ExecutorLink } from './executor-link.js';
import { Fleet } from './fleet.js';
import { InFlight } from './in-flight.js';
import { Metrics } from './metrics.js';
import { RegistryWatch } from './registry-watch.js';

@Controller()
export class StatusController {
  constructor(
    private readonly fleet: Fleet, private readonly watch: RegistryWatch, private readonly inFlight: InFlight, private readonly metrics: Metrics,
  ) {}

  /** The process answers. */
  @Get('health/live') @Public()
  live(): object { return { status: 'ok' }; }

  /** Requests are served: 503 before the registry was reached, without an executor, and while shutting down. */
  @Get(['health', 'health/ready']) @Public()
  ready(@Res({ passthrough: true }) reply: FastifyReply): object {
    const status = this.inFlight.draining ? 'draining' : !this.watch.reached ? 'no registry' : !this.fleet.serving ? 'no executor' : 'ok';
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
    return { object: 'list', data: [...this.fleet.links].filter(({ description }) => description !== null).map(executorCard), has_more: false };
  }
}

function executorCard({ address, description, load }: ExecutorLink): object {
  const { executorId, baseDigest, device, build, maxModelLen, pageBytes } = description!;
  return {
    object: 'executor', id: executorId, address, base_digest: baseDigest, device, build, max_model_len: maxModelLen, page_bytes: pageBytes,
    draining: load?.draining ?? false, running: load?.running ?? 0, waiting: load?.waiting ?? 0, tokens_per_second: load?.tokensPerSecond ?? 0,
    pages: { total: load?.pagesTotal ?? 0, free: load?.pagesFree ?? 0, owners: load?.owners ?? [] },
    // Since it started, of requests that have ended.
    submits: Number(load?.submits ?? 0), prompt_tokens: Number(load?.promptTokens ?? 0), generated_tokens: Number(load?.generatedTokens ?? 0),
  };
}
