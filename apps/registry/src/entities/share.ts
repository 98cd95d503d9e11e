import { Column, Entity, ForeignKey, Index, PrimaryColumn } from 'typeorm';
import { Adapter } from './adapter.js';
import { Tenant } from './tenant.js';

/** The named tenant may use the adapter, and read what it is. */
@Entity('shares')
@Index('shares_with', ['withTenantId'])
export class Share {
  @PrimaryColumn('uuid') @ForeignKey(() => Adapter, { name: 'shares_adapter_fk' }) adapterId!: string;
  @PrimaryColumn('uuid') @ForeignKey(() => Tenant, { name: 'shares_with_fk' }) withTenantId!: string;
  @Column('uuid') @ForeignKey(() => Tenant, { name: 'shares_tenant_fk' }) tenantId!: string;
}
