import { Column, Entity, Index, PrimaryGeneratedColumn } from 'typeorm';
import { CREATED_AT, MOMENT } from './columns.js';

@Entity('tenants')
@Index('tenants_name', { synchronize: false })   // unique lower(name) of those not deleted
export class Tenant {
  @PrimaryGeneratedColumn('uuid') id!: string;
  @Column('text') name!: string;
  @Column(CREATED_AT) createdAt!: Date;
  @Column(MOMENT) deletedAt!: Date | null;
}
