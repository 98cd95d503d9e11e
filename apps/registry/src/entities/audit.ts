import { Column, Entity, Index, PrimaryGeneratedColumn } from 'typeorm';

/** Who changed what. Rows are never changed: the service's role may not. */
@Entity('audit')
@Index('audit_tenant', ['tenantId', 'id'])
export class Audit {
  @PrimaryGeneratedColumn('identity', { type: 'bigint', generatedIdentity: 'ALWAYS' }) id!: string;
  /** Whose thing it was. */
  @Column('uuid') tenantId!: string;
  /** Empty: the system itself. */
  @Column('text') keyId!: string;
  @Column('text') requestId!: string;
  /** As `alias.put`. */
  @Column('text') action!: string;
  /** As `ticket-router@prod`. */
  @Column('text') subject!: string;
  @Column('jsonb', { default: () => `'{}'` }) details!: object;
  @Column('timestamptz', { default: () => 'now()' }) at!: Date;
}
