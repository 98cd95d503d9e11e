/**
 * One arena of equal pages, one free list, explicit owners. The pool knows neither layers nor adapters: KV blocks and
 * adapter images are views that their owners lay over pages.
 *
 * A page that submitted steps still name is *retired* first and becomes free when they have completed.
 */
export type PageId = number & { readonly __brand: 'PageId' };
export const Owner = { free: 0, sequence: 1, adapter: 2, prefix: 3, retired: 4, expert: 5 } as const;
export type OwnerKind = (typeof Owner)[keyof typeof Owner];

export class PagePool {
  readonly total: number;
  readonly pageBytes: number;
  readonly #kind: Uint8Array;
  readonly #owner: Int32Array;
  /** A stack: the page freed last is used first, so its memory is warm and the untouched tail stays uncommitted. */
  readonly #free: Int32Array;
  #freeCount: number;
  /** Pages by kind of owner. */
  readonly #counts: Int32Array;
  readonly #retired: { step: number; pages: PageId[] }[] = [];

  constructor(total: number, pageBytes: number) {
    this.total = total;
    this.pageBytes = pageBytes;
    this.#kind = new Uint8Array(total);
    this.#owner = new Int32Array(total).fill(-1);
    this.#free = Int32Array.from({ length: total }, (_, i) => total - 1 - i);
    this.#freeCount = total;
    this.#counts = Int32Array.of(total, 0, 0, 0, 0, 0);
  }

  get free(): number { return this.#freeCount; }
  get retired(): number { return this.#counts[Owner.retired]!; }

  /** Takes `count` pages for an owner, appending them to `into`. The caller has checked `free`. */
  take(count: number, kind: OwnerKind, owner: number, into: PageId[]): void {
    if (count > this.#freeCount) throw new Error(`page pool: ${count} pages wanted, ${this.#freeCount} free`);
    for (let i = 0; i < count; i++) {
      const page = this.#free[--this.#freeCount]! as PageId;
      this.#kind[page] = kind;
      this.#owner[page] = owner;
      into.push(page);
    }
    this.#counts[Owner.free]! -= count;
    this.#counts[kind]! += count;
  }

  /** Gives pages back. They stay untouched until step `lastStep` has completed. */
  retire(pages: readonly PageId[], kind: OwnerKind, owner: number, lastStep: number): void {
    if (pages.length === 0) return;
    for (const page of pages) {
      if (this.#kind[page] !== kind || this.#owner[page] !== owner) {
        throw new Error(`page pool: page ${page} belongs to ${this.#kind[page]}:${this.#owner[page]}, not to ${kind}:${owner}`);
      }
      this.#kind[page] = Owner.retired;
    }
    this.#retired.push({ step: lastStep, pages: [...pages] });
    this.#counts[kind]! -= pages.length;
    this.#counts[Owner.retired]! += pages.length;
  }

  /** Frees what was retired up to a completed step. */
  reclaim(completedStep: number): void {
    // Entries may be out of order: an eviction needs no step to complete, a preemption the last one submitted.
    for (let i = this.#retired.length - 1; i >= 0; i--) {
      const entry = this.#retired[i]!;
      if (entry.step > completedStep) continue;
      for (const page of entry.pages) {
        this.#kind[page] = Owner.free;
        this.#owner[page] = -1;
        this.#free[this.#freeCount++] = page;
      }
      this.#counts[Owner.retired]! -= entry.pages.length;
      this.#counts[Owner.free]! += entry.pages.length;
      this.#retired.splice(i, 1);
    }
  }

  /** Pages by kind of owner: the pool's map in six numbers. */
  census(): Record<keyof typeof Owner, number> {
    const [free, sequence, adapter, prefix, retired, expert] = this.#counts as unknown as [number, number, number, number, number, number];
    return { free, sequence, adapter, prefix, retired, expert };
  }

  /** The pool in page order: calls `run` for each longest stretch of pages with one owner. */
  eachRun(run: (kind: OwnerKind, owner: number, pages: number) => void): void {
    const kinds = this.#kind, owners = this.#owner, { total } = this;
    for (let from = 0, page = 1; page <= total; page++) {
      const kind = kinds[from]!, owner = owners[from]!;
      if (page < total && kinds[page] === kind && owners[page] === owner) continue;
      run(kind as OwnerKind, owner, page - from);
      from = page;
    }
  }

  ownerOf(page: PageId): { kind: OwnerKind; owner: number } {
    return { kind: this.#kind[page]! as OwnerKind, owner: this.#owner[page]! };
  }

  /**
   * Every page has exactly one owner, and owners hold exactly what the pool says. Throws at the first contradiction.
   * `held`: for each (kind, owner) the pages it believes to hold.
   */
  checkInvariants(held: Iterable<{ kind: OwnerKind; owner: number; pages: readonly PageId[] }>): void {
    const seen = new Uint8Array(this.total);
    const claim = (page: number, who: string): void => {
      if (page < 0 || page >= this.total) throw new Error(`page pool: ${who} holds page ${page} of ${this.total}`);
      if (seen[page]) throw new Error(`page pool: page ${page} is held twice (again by ${who})`);
      seen[page] = 1;
    };
    for (let i = 0; i < this.#freeCount; i++) {
      claim(this.#free[i]!, 'the free list');
      if (this.#kind[this.#free[i]!] !== Owner.free) throw new Error(`page pool: page ${this.#free[i]} is in the free list and owned`);
    }
    for (const entry of this.#retired) for (const page of entry.pages) claim(page, 'the retired list');
    for (const { kind, owner, pages } of held) {
      for (const page of pages) {
        claim(page, `${kind}:${owner}`);
        if (this.#kind[page] !== kind || this.#owner[page] !== owner) {
          throw new Error(`page pool: page ${page} belongs to ${this.#kind[page]}:${this.#owner[page]}, ${kind}:${owner} holds it`);
        }
      }
    }
    const counted = [0, 0, 0, 0, 0, 0];
    for (const kind of this.#kind) counted[kind]!++;
    if (counted.some((count, kind) => count !== this.#counts[kind])) throw new Error(`page pool: ${counted.join(', ')} pages by kind, counted as ${this.#counts.join(', ')}`);
    const lost = seen.indexOf(0);
    if (lost >= 0) throw new Error(`page pool: page ${lost} (${this.#kind[lost]}:${this.#owner[lost]}) is held by nobody`);
  }
}
