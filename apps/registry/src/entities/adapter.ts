import { Column, Entity, ForeignKey, Index, PrimaryGeneratedColumn } from 'typeorm';
import { CREATED_AT, MOMENT } from './columns.js';
import { Tenant } from './tenant.js';

@Entity('adapters')
@Index('adapters_name', { synchronize: false })   // unique (tenant_id, lower(name)) of those not deleted
export class Adapter {
  @PrimaryGeneratedColumn('uuid') id!: string;
  @Column('uuid') @ForeignKey(() => Tenant, { name: 'adapters_tenant_fk' }) tenantId!: string;
  @Column('text') name!: string;
  @Column('text', { default: '' }) description!: string;
  @Column(CREATED_AT) createdAt!: Date;
  @Column(MOMENT) deletedAt!: Date | null;
}
