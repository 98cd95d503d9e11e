import { Body, Controller, Delete, Get, HttpCode, Param, Post, Query, Req } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { actorOf, Caller, RequireScope } from '../auth.guard.js';
import { list, page, type List } from '../dto/list.js';
import { parse } from '../dto/parse.js';
import type { Principal } from '../keys.js';
import { RegistryClient } from '../registry-client.js';
import { tenantCard, type tenantSchema } from './cards.js';
import { tenantBody, tenantPath } from './dto.js';

type TenantCard = z.output<typeof tenantSchema>;

@Controller('v1/tenants')
@RequireScope('admin')
export class TenantsController {
  constructor(private readonly registry: RegistryClient) {}

  @Post()
  async create(@Body() body: unknown, @Caller() caller: Principal, @Req() request: FastifyRequest): Promise<TenantCard> {
    return tenantCard(await this.registry.call('createTenant', { actor: actorOf(caller, request), ...parse(tenantBody, body) }));
  }

  @Get()
  async list(@Query() query: unknown): Promise<List<TenantCard>> {
    const { limit, after = '' } = parse(page, query);
    return list(await this.registry.call('listTenants', { tenantId: '', limit, after }), tenantCard);
  }

  @Delete(':name') @HttpCode(204)
  async remove(@Param() path: unknown, @Caller() caller: Principal, @Req() request: FastifyRequest): Promise<void> {
    await this.registry.call('deleteTenant', { actor: actorOf(caller, request), ...parse(tenantPath, path) });
  }
}
