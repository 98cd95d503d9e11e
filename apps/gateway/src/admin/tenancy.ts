import { Injectable } from '@nestjs/common';
import { WeftError } from '@weft/contracts';
import type { Principal } from '../keys.js';
import { RegistryClient } from '../registry-client.js';

/** Whose rows a request is about. */
@Injectable()
export class Tenancy {
  constructor(private readonly registry: RegistryClient) {}

  /**
   * The id of the tenant that is named; the caller's own without a name; empty, which is all of them, for «*».
   * Throws insufficient_scope for another's without the scope admin, not_found.
   */
  async idOf(tenant: string | undefined, caller: Principal): Promise<string> {
    if (tenant === undefined || tenant.toLowerCase() === caller.tenantName.toLowerCase()) return caller.tenant;
    if (!caller.scopes.has('admin')) throw new WeftError('insufficient_scope', 'Only a key with the scope admin may ask for other tenants.', { param: 'tenant' });
    if (tenant === '*') return '';
    try {
      return (await this.registry.call('findTenant', { name: tenant })).id;
    } catch (error) {
      if (!(error instanceof WeftError) || error.code !== 'not_found') throw error;
      throw new WeftError('not_found', `There is no tenant ${JSON.stringify(tenant)}.`, { param: 'tenant', cause: error });
    }
  }
}
