import { Column, Entity, PrimaryColumn } from 'typeorm';
import { COUNT, CREATED_AT } from './columns.js';

/** A blob in the store, by its content. Versions of any tenant may name it. */
@Entity('artifacts')
export class Artifact {
  @PrimaryColumn('text') sha256!: string;
  @Column(COUNT) bytes!: number;
  @Column(CREATED_AT) createdAt!: Date;
}
