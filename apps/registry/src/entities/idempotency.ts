import { Column, Entity, ForeignKey, PrimaryColumn } from 'typeorm';
import { CREATED_AT } from './columns.js';
import { Tenant } from './tenant.js';
import { Version } from './version.js';

/** What an upload with this Idempotency-Key became. */
@Entity('idempotency')
export class Idempotency {
  @PrimaryColumn('uuid') @ForeignKey(() => Tenant, { name: 'idempotency_tenant_fk' }) tenantId!: string;
  @PrimaryColumn('text') key!: string;
  @Column('text') requestHash!: string;
  @Column('uuid') @ForeignKey(() => Version, { name: 'idempotency_version_fk' }) versionId!: string;
  @Column(CREATED_AT) createdAt!: Date;
}
