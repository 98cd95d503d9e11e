import { Controller, Get, Query } from '@nestjs/common';
import type { z } from 'zod';
import { Caller } from '../auth.guard.js';
import { list, type List } from '../dto/list.js';
import { parse } from '../dto/parse.js';
import type { Principal } from '../keys.js';
import { RegistryClient } from '../registry-client.js';
import { usageCard, type usageSchema } from './cards.js';
import { usageQuery } from './dto.js';
import { Tenancy } from './tenancy.js';

@Controller('v1/usage')
export class UsageController {
  constructor(private readonly registry: RegistryClient, private readonly tenancy: Tenancy) {}

  /** Sums over the requests that were opened in a time: a tenant's own, or for an admin any tenant's. */
  @Get()
  async query(@Query() query: unknown, @Caller() caller: Principal): Promise<List<z.output<typeof usageSchema>>> {
    const { tenant, start, end, group_by: groupBy, limit } = parse(usageQuery, query);
    const tenantId = await this.tenancy.idOf(tenant, caller);
    return list(await this.registry.call('queryUsage', { tenantId, start: BigInt(start), end: BigInt(end), groupBy, limit }), usageCard);
  }
}
