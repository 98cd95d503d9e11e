import { Controller, Get, HttpCode, Param, Post, Query, Req } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { actorOf, Caller, RequireScope } from '../auth.guard.js';
import { list, type List } from '../dto/list.js';
import { parse } from '../dto/parse.js';
import type { Principal } from '../keys.js';
import { RegistryClient } from '../registry-client.js';
import { jobCard, type jobSchema } from './cards.js';
import { adminPage, idPath, tenantQuery } from './dto.js';
import { Tenancy } from './tenancy.js';

type JobCard = z.output<typeof jobSchema>;

/** Ingestions of uploaded versions. */
@Controller('v1/jobs')
@RequireScope('admin')
export class JobsController {
  constructor(private readonly registry: RegistryClient, private readonly tenancy: Tenancy) {}

  @Get()
  async list(@Query() query: unknown, @Caller() caller: Principal): Promise<List<JobCard>> {
    const { limit, after = '', tenant } = parse(adminPage, query);
    return list(await this.registry.call('listJobs', { tenantId: await this.tenancy.idOf(tenant, caller), limit, after }), jobCard);
  }

  @Post(':id/cancel') @HttpCode(200)
  async cancel(@Param() path: unknown, @Query() query: unknown, @Caller() caller: Principal, @Req() request: FastifyRequest): Promise<JobCard> {
    return jobCard(await this.registry.call('cancelJob', await this.#job(path, query, caller, request)));
  }

  @Post(':id/retry') @HttpCode(200)
  async retry(@Param() path: unknown, @Query() query: unknown, @Caller() caller: Principal, @Req() request: FastifyRequest): Promise<JobCard> {
    return jobCard(await this.registry.call('retryJob', await this.#job(path, query, caller, request)));
  }

  async #job(path: unknown, query: unknown, caller: Principal, request: FastifyRequest) {
    const { id } = parse(idPath, path);
    return { actor: actorOf(caller, request), tenantId: await this.tenancy.idOf(parse(tenantQuery, query).tenant, caller), id };
  }
}
