import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { MOMENT } from './columns.js';

/** One Submit: opened before its first byte, closed before its last. No foreign keys: it outlives what it names. */
@Entity('usage')
@Index('usage_tenant', ['tenantId', 'openedAt'])
@Index('usage_opened', ['openedAt'])
@Index('usage_open', { synchronize: false })   // (opened_at) where closed_at is null
export class Usage {
  /** Of the Submit. */
  @PrimaryColumn('text') id!: string;
  @Column('text') requestId!: string;
  @Column('uuid') tenantId!: string;
  @Column('text') keyId!: string;
  @Column('text') route!: string;
  /** As the request spelled it. */
  @Column('text') model!: string;
  /** Empty for the base. */
  @Column('text') adapter!: string;
  @Column('int') version!: number;
  @Column('text') digest!: string;
  @Column('text') gatewayId!: string;
  @Column('text') executorId!: string;
  @Column('timestamptz') openedAt!: Date;
  @Column(MOMENT) closedAt!: Date | null;
  /** ok, an error's code, orphaned, or lost; empty while open. */
  @Column('text', { default: '' }) status!: string;
  @Column('int', { default: 0 }) promptTokens!: number;
  @Column('int', { default: 0 }) cachedTokens!: number;
  @Column('int', { default: 0 }) generatedTokens!: number;
  @Column('int', { default: 0 }) billedTokens!: number;
  @Column('real', { default: 0 }) queueMs!: number;
  @Column('real', { default: 0 }) coldStartMs!: number;
}
