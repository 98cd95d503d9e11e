import type { registryV1 } from '@weft/contracts';
import { Check, Column, Entity, ForeignKey, Index, PrimaryGeneratedColumn, Unique } from 'typeorm';
import { Adapter } from './adapter.js';
import { COUNT, CREATED_AT, MOMENT } from './columns.js';
import { Tenant } from './tenant.js';

export type VersionStatus = 'validating' | 'ready' | 'failed' | 'deleted';
/** Name, bytes, sha256: an entry of the canonical JSON that the digest is taken of. */
export type VersionFile = [name: string, size: number, sha256: string];

/** One upload of an adapter, and how far its ingestion is. */
@Entity('versions')
@Unique('versions_number', ['adapterId', 'version'])
@Check('versions_status', `status in ('validating', 'ready', 'failed', 'deleted')`)
@Index('versions_digest', ['digest'])
@Index('versions_tenant', ['tenantId', 'createdAt'])
@Index('versions_validating', { synchronize: false })   // (created_at) where status = 'validating'
export class Version {
  @PrimaryGeneratedColumn('uuid') id!: string;
  @Column('uuid') @ForeignKey(() => Tenant, { name: 'versions_tenant_fk' }) tenantId!: string;
  @Column('uuid') @ForeignKey(() => Adapter, { name: 'versions_adapter_fk' }) adapterId!: string;
  @Column('int') version!: number;
  @Column('text') digest!: string;
  @Column('text') baseDigest!: string;
  /** The base's id at the time of the upload. */
  @Column('text') base!: string;
  @Column('jsonb') files!: VersionFile[];
  /** Empty until validated, as the two below. */
  @Column('text', { default: '' }) kind!: string;
  @Column('int', { default: 0 }) rank!: number;
  @Column('text', { array: true, default: () => `'{}'` }) targetModules!: string[];
  @Column(COUNT) bytes!: number;
  @Column('text', { default: 'validating' }) status!: VersionStatus;
  /** Of its ingestion: queued, validate, pack, probe; empty when that is over. */
  @Column('text', { default: 'queued' }) stage!: string;
  @Column('jsonb', { default: () => `'[]'` }) errors!: registryV1.Finding[];
  @Column('jsonb', { default: () => `'[]'` }) warnings!: registryV1.Finding[];
  @Column('jsonb', { default: () => `'[]'` }) ignored!: string[];
  /** Largest change of a log-probability that the probe saw. */
  @Column('real', { default: 0 }) effect!: number;
  /** The alias that it gets in the transaction that makes it ready. */
  @Column('text', { nullable: true }) aliasWhenReady!: string | null;
  @Column('int', { default: 0 }) attempts!: number;
  @Column(CREATED_AT) createdAt!: Date;
  @Column(MOMENT) readyAt!: Date | null;
  /** When its ingestion ended, either way. */
  @Column(MOMENT) finishedAt!: Date | null;
  @Column(MOMENT) deletedAt!: Date | null;
}
