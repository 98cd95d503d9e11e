import { Body, Controller, Delete, Get, Header, HttpCode, Param, Patch, Post, Query, Req } from '@nestjs/common';
import type { registryV1 } from '@weft/contracts';
import type { FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { actorOf, Caller, RequireScope } from '../auth.guard.js';
import { list, type List } from '../dto/list.js';
import { parse } from '../dto/parse.js';
import { toSecondsOrNull } from '../dto/time.js';
import type { Principal } from '../keys.js';
import { RegistryClient } from '../registry-client.js';
import { keyCard, limitsCard, type createdKeySchema, type currentKeySchema, type keySchema } from './cards.js';
import { adminPage, createKeyBody, idPath, parseUpdate, tenantQuery, type updateKeyBody } from './dto.js';
import { Tenancy } from './tenancy.js';

type KeyCard = z.output<typeof keySchema>;

@Controller('v1/keys')
export class KeysController {
  constructor(private readonly registry: RegistryClient, private readonly tenancy: Tenancy) {}

  @Post() @RequireScope('admin') @Header('cache-control', 'no-store')
  async create(@Body() body: unknown, @Caller() caller: Principal, @Req() request: FastifyRequest): Promise<z.output<typeof createdKeySchema>> {
    const { tenant, name, scopes, limits, expires_at: expiresAt = 0 } = parse(createKeyBody, body);
    const tenantId = await this.tenancy.idOf(tenant, caller);
    const { key, secret } = await this.registry.call('createKey', { actor: actorOf(caller, request), tenantId, name, scopes, limits: limitsOf(limits), expiresAt: BigInt(expiresAt) });
    return { ...keyCard(key!), secret };
  }

  @Get() @RequireScope('admin')
  async list(@Query() query: unknown, @Caller() caller: Principal): Promise<List<KeyCard>> {
    const { limit, after = '', tenant } = parse(adminPage, query);
    return list(await this.registry.call('listKeys', { tenantId: await this.tenancy.idOf(tenant, caller), limit, after }), keyCard);
  }

  /** The key that asks. */
  @Get('current')
  async current(@Caller() { keyId, tenant, tenantName, scopes, limits }: Principal, @Req() request: FastifyRequest): Promise<z.output<typeof currentKeySchema>> {
    const [, key = ''] = request.headers.authorization!.trim().split(/ +/);
    const { expiresAt } = await this.registry.call('authenticate', { key });
    return { id: keyId, object: 'api_key', tenant: tenantName, tenant_id: tenant, scopes: [...scopes], limits: limitsCard(limits), expires_at: toSecondsOrNull(expiresAt) };
  }

  @Patch(':id') @RequireScope('admin')
  async update(@Param() path: unknown, @Query() query: unknown, @Body() body: unknown, @Caller() caller: Principal, @Req() request: FastifyRequest): Promise<KeyCard> {
    const { id } = parse(idPath, path);
    const { name, limits, expires_at: expiresAt } = parseUpdate(body);
    const tenantId = await this.tenancy.idOf(parse(tenantQuery, query).tenant, caller);
    return keyCard(await this.registry.call('updateKey', {
      actor: actorOf(caller, request), tenantId, id, name, limits: limitsOf(limits), expiresAt: expiresAt === undefined ? undefined : BigInt(expiresAt),
    }));
  }

  @Delete(':id') @RequireScope('admin') @HttpCode(204)
  async revoke(@Param() path: unknown, @Query() query: unknown, @Caller() caller: Principal, @Req() request: FastifyRequest): Promise<void> {
    const { id } = parse(idPath, path);
    await this.registry.call('revokeKey', { actor: actorOf(caller, request), tenantId: await this.tenancy.idOf(parse(tenantQuery, query).tenant, caller), id });
  }
}

/** All three together: what is left out is not limited. */
function limitsOf(limits: z.output<typeof updateKeyBody>['limits']): registryV1.Limits | undefined {
  return limits && { requestsPerMinute: limits.requests_per_minute, tokensPerMinute: limits.tokens_per_minute, parallel: limits.parallel };
}
