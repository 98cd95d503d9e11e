/** Numbered places that submitted steps may still name after their owner has left: freed when those steps are done. */
export class SlotPool<Slot extends number> {
  readonly #free: Slot[];
  readonly #retired: { slot: Slot; step: number }[] = [];

  constructor(readonly total: number) {
    this.#free = Array.from({ length: total }, (_, i) => (total - 1 - i) as Slot);
  }
  get free(): number { return this.#free.length; }
  get retired(): number { return this.#retired.length; }

  take(): Slot {
    const slot = this.#free.pop();
    if (slot === undefined) throw new Error('slot pool: none free');
    return slot;
  }
  retire(slot: Slot, lastStep: number): void { this.#retired.push({ slot, step: lastStep }); }
  reclaim(completedStep: number): void {
    for (let i = this.#retired.length - 1; i >= 0; i--) {
      const { slot, step } = this.#retired[i]!;
      if (step <= completedStep) { this.#free.push(slot); this.#retired.splice(i, 1); }
    }
  }
  checkInvariants(held: readonly Slot[]): void {
    const seen = new Set<number>();
    for (const slot of [...this.#free, ...this.#retired.map(r => r.slot), ...held]) {
      if (seen.has(slot)) throw new Error(`slot pool: slot ${slot} is held twice`);
      seen.add(slot);
    }
    if (seen.size !== this.total) throw new Error(`slot pool: ${this.total - seen.size} slots are lost`);
  }
}
