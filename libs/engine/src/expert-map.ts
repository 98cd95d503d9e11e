/** The tables by which kernels find experts that adapters bring (expert-table.ts in @weft/kernels), written when they are bound. */
import type { ExpertGeometry } from '@weft/adapters';
import { expertTables, mapAt, type DType, type Device, type DeviceBuffer, type ExpertTables } from '@weft/kernels';

export class ExpertMap {
  readonly tables: ExpertTables;
  readonly buffer: DeviceBuffer;
  readonly #words: Int32Array;

  constructor(readonly device: Device, readonly geometry: ExpertGeometry, pageBytes: number, adapterSlots: number, expertSlots: number) {
    this.tables = expertTables({ ...geometry, layers: geometry.layers.length }, pageBytes, adapterSlots, expertSlots);
    this.buffer = device.alloc(this.tables.words * 4, 'expert tables');
    this.#words = new Int32Array(device.host(this.buffer));
  }

  /** Writes which experts of the base an adapter slot replaces, and by what slots. */
  async bindAdapter(adapterSlot: number, experts: readonly { layer: number; expert: number; slot: number }[]): Promise<void> {
    const { layers, count } = this.geometry, row = (layer: number): number => this.tables.at.map + mapAt(this.tables, layer, adapterSlot);
    for (let layer = 0; layer < layers.length; layer++) this.#words.fill(-1, row(layer), row(layer) + count);
    for (const { layer, expert, slot } of experts) this.#words[row(layers.indexOf(layer)) + expert] = slot;
    for (let layer = 0; layer < layers.length; layer++) await this.device.upload(this.buffer, 4 * row(layer), 4 * count);
  }

  /** Writes where the expert of a slot lies. */
  async bindExpert(slot: number, dtype: DType, pages: readonly number[]): Promise<void> {
    const { at, slotPages } = this.tables;
    this.#words[at.types + slot] = dtype;
    this.#words.set(pages, at.pages + slot * slotPages);
    await this.device.upload(this.buffer, 4 * (at.types + slot), 4);
    await this.device.upload(this.buffer, 4 * (at.pages + slot * slotPages), 4 * slotPages);
  }

  free(): void { this.device.free(this.buffer); }
}
