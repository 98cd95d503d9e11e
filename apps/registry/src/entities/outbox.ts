import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { CREATED_AT } from './columns.js';

/** A change that was committed, for those who cache. Its id is given by a trigger, in the order of commits. */
@Entity('outbox')
@Index('outbox_created', ['createdAt'])
export class OutboxRow {
  @PrimaryColumn('bigint') id!: string;
  /** Null: of all tenants. */
  @Column('uuid', { nullable: true }) tenantId!: string | null;
  @Column('text') kind!: string;
  @Column('jsonb', { default: () => `'{}'` }) payload!: object;
  @Column(CREATED_AT) createdAt!: Date;
}
