import { Controller, Get, Query } from '@nestjs/common';
import type { z } from 'zod';
import { Caller, RequireScope } from '../auth.guard.js';
import { list, type List } from '../dto/list.js';
import { parse } from '../dto/parse.js';
import type { Principal } from '../keys.js';
import { RegistryClient } from '../registry-client.js';
import { auditCard, type auditSchema } from './cards.js';
import { adminPage } from './dto.js';
import { Tenancy } from './tenancy.js';

/** Who changed what. */
@Controller('v1/audit')
@RequireScope('admin')
export class AuditController {
  constructor(private readonly registry: RegistryClient, private readonly tenancy: Tenancy) {}

  @Get()
  async list(@Query() query: unknown, @Caller() caller: Principal): Promise<List<z.output<typeof auditSchema>>> {
    const { limit, after = '', tenant } = parse(adminPage, query);
    return list(await this.registry.call('listAudit', { tenantId: await this.tenancy.idOf(tenant, caller), limit, after }), auditCard);
  }
}
