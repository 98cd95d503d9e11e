import { Column, Entity, ForeignKey, Index, PrimaryGeneratedColumn } from 'typeorm';
import { CREATED_AT, MOMENT } from './columns.js';
import { Tenant } from './tenant.js';

/** What a key may do. */
export const SCOPES = ['inference', 'adapters:write', 'admin'] as const;
export type Scope = typeof SCOPES[number];

@Entity('api_keys')
@Index('api_keys_tenant', ['tenantId', 'createdAt'])
@Index('api_keys_hash', ['hash'], { unique: true })
export class ApiKey {
  @PrimaryGeneratedColumn('uuid') id!: string;
  @Column('uuid') @ForeignKey(() => Tenant, { name: 'api_keys_tenant_fk' }) tenantId!: string;
  @Column('text') name!: string;
  /** HMAC-SHA256 of the secret under the pepper. */
  @Column('bytea') hash!: Buffer;
  @Column('text') hint!: string;
  @Column('text', { array: true }) scopes!: Scope[];
  /** 0: not limited. */
  @Column('int', { default: 0 }) requestsPerMinute!: number;
  @Column('int', { default: 0 }) tokensPerMinute!: number;
  @Column('int', { default: 0 }) parallel!: number;
  @Column(CREATED_AT) createdAt!: Date;
  @Column(MOMENT) expiresAt!: Date | null;
  @Column(MOMENT) revokedAt!: Date | null;
  @Column(MOMENT) lastUsedAt!: Date | null;
}
