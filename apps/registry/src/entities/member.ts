import { Check, Column, Entity, PrimaryColumn } from 'typeorm';

/** A gateway or executor that lives, as long as its lease holds. Every registry of the database sees them all. */
@Entity('members')
@Check('members_role', `role in ('gateway', 'executor')`)
export class Member {
  @PrimaryColumn('text') id!: string;
  @Column('text') role!: 'gateway' | 'executor';
  /** Where gateways reach it. */
  @Column('text', { default: '' }) address!: string;
  /** Of an executor: base, baseDigest, device, build. */
  @Column('jsonb', { default: () => `'{}'` }) info!: Record<string, string>;
  /** The registry process that renews the lease. */
  @Column('text') holder!: string;
  @Column('timestamptz') leaseUntil!: Date;
}
