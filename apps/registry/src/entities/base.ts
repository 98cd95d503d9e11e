import type { BaseGeometry, BaseText } from '@weft/adapters';
import { Column, Entity, PrimaryColumn } from 'typeorm';

/** A base model that an executor brought: enough to check an adapter without it. */
@Entity('bases')
export class Base {
  @PrimaryColumn('text') digest!: string;
  /** How people call it. */
  @Column('text') name!: string;
  @Column('jsonb') geometry!: BaseGeometry;
  @Column('jsonb') text!: BaseText;
  @Column('timestamptz', { default: () => 'now()' }) updatedAt!: Date;
}
