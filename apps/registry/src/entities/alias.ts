import { Column, Entity, ForeignKey, PrimaryColumn } from 'typeorm';
import { Adapter } from './adapter.js';
import { COUNT } from './columns.js';
import { Tenant } from './tenant.js';

/** A name that moves from version to version. `latest` is none: it is computed. */
@Entity('aliases')
export class Alias {
  @PrimaryColumn('uuid') @ForeignKey(() => Adapter, { name: 'aliases_adapter_fk' }) adapterId!: string;
  @PrimaryColumn('text') alias!: string;
  @Column('uuid') @ForeignKey(() => Tenant, { name: 'aliases_tenant_fk' }) tenantId!: string;
  @Column('int') version!: number;
  /** Share of the alias' requests, in percent. */
  @Column('int', { default: 100 }) weight!: number;
  @Column({ ...COUNT, default: 1 }) revision!: number;
  @Column('timestamptz', { default: () => 'now()' }) updatedAt!: Date;
}
