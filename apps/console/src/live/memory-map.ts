/**
 * The pool as a picture: a cell for each page in its order, behind as many for the base's weights as those would fill. What
 * the batch of the moment reads is bright, what rests is dim, what has just changed hands lights up.
 */
import type { Picture } from '../api/schema.js';
import type { Paint, Palette } from './colours.js';

/** The end of the pool that nobody has touched is told as a number: pages are given out from the front. */
const SHOWN_MIN = 512;
const CELL_PX_MIN = 5;
const CELL_PX_MAX = 22;
const FLASH_MS = 700;
const REST_ALPHA = 0.5;
/** Of a cell that belongs to somebody else than what is pointed at. */
const ASIDE_ALPHA = 0.16;

export interface Spot { kind: 'weights' | 'page'; page: number; holder: number; cell: number }

interface Layout { cell: number; columns: number; perCell: number; weightCells: number; pageCells: number }

export class MemoryMap {
  readonly #context: CanvasRenderingContext2D;
  #layout: Layout = { cell: CELL_PX_MAX, columns: 1, perCell: 1, weightCells: 0, pageCells: 0 };
  #shown = SHOWN_MIN;
  /** By cell: its holder's key as it was last drawn, and when that changed. */
  #keys: string[] = [];
  #changedMs = new Float64Array(0);
  #cells = new Int32Array(0);

  constructor(readonly canvas: HTMLCanvasElement) { this.#context = canvas.getContext('2d')!; }

  get shownPages(): number { return this.#shown; }
  get pagesPerCell(): number { return this.#layout.perCell; }

  /** True while something still fades: it is to be drawn again. */
  draw(picture: Picture, paints: readonly Paint[], palette: Palette, pointed: (holder: number) => boolean | null, still: boolean): boolean {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const scale = devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * scale) || this.canvas.height !== Math.round(height * scale)) {
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
    }
    this.#arrange(picture, width, height);
    this.#fill(picture, still);
    const { cell, columns, weightCells } = this.#layout;
    const context = this.#context, gap = cell >= 9 ? 2 : 1, size = cell - gap, round = Math.min(3, size / 4);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const now = performance.now();
    let fading = false;
    for (let at = 0; at < weightCells; at++) {
      const x = (at % columns) * cell, y = Math.floor(at / columns) * cell;
      context.globalAlpha = pointed(-1) === false ? ASIDE_ALPHA : 1;
      context.fillStyle = palette.weights;
      box(context, x, y, size, round);
      context.fillStyle = palette.weightsLine;
      context.fillRect(x + size / 2 - 0.5, y, 1, size);
    }
    const first = this.#firstPageCell;
    for (let at = 0; at < this.#cells.length; at++) {
      const holder = this.#cells[at]!, paint = paints[holder];
      if (paint === undefined) continue;
      const x = ((first + at) % columns) * cell, y = Math.floor((first + at) / columns) * cell;
      const free = picture.holders[holder]!.kind === 'free';
      const toward = pointed(holder);
      const age = now - this.#changedMs[at]!;
      context.globalAlpha = toward === false ? ASIDE_ALPHA : free || paint.active || toward ? 1 : REST_ALPHA;
      context.fillStyle = paint.fill;
      box(context, x, y, size, round);
      if (paint.stripe !== null && size >= 5) {
        context.fillStyle = paint.stripe;
        context.fillRect(x, y + size - Math.max(2, size * 0.32), size, Math.max(2, size * 0.32));
      }
      if (age < FLASH_MS && !free) {
        fading = true;
        context.globalAlpha = 0.55 * (1 - age / FLASH_MS);
        context.fillStyle = palette.flash;
        box(context, x, y, size, round);
      }
    }
    context.globalAlpha = 1;
    return fading;
  }

  /** What is below a point of the canvas. */
  at(x: number, y: number): Spot | null {
    const { cell, columns, weightCells, perCell } = this.#layout;
    const column = Math.floor(x / cell), index = Math.floor(y / cell) * columns + column;
    if (column < 0 || column >= columns || index < 0) return null;
    if (index < weightCells) return { kind: 'weights', page: -1, holder: -1, cell: index };
    const at = index - this.#firstPageCell;
    if (at < 0 || at >= this.#cells.length) return null;
    return { kind: 'page', page: at * perCell, holder: this.#cells[at]!, cell: index };
  }

  /** The pool begins on a line of its own. */
  get #firstPageCell(): number {
    const { weightCells, columns } = this.#layout;
    return Math.ceil(weightCells / columns) * columns + (weightCells > 0 ? columns : 0);
  }

  /** The largest cells with which all of it fits; if not even small ones do, each stands for several pages. */
  #arrange({ map, holders, page_bytes: pageBytes, weight_bytes: weightBytes }: Picture, width: number, height: number): void {
    let used = 0, total = 0;
    for (let i = 0; i < map.length; i += 2) {
      total += map[i + 1]!;
      if (holders[map[i]!]!.kind !== 'free') used = total;
    }
    while (this.#shown < used) this.#shown *= 2;
    const shown = Math.min(this.#shown, total), weightPages = Math.ceil(weightBytes / pageBytes);
    for (let perCell = 1; ; perCell *= 2) {
      const weightCells = Math.ceil(weightPages / perCell), pageCells = Math.ceil(shown / perCell);
      for (let cell = CELL_PX_MAX; cell >= CELL_PX_MIN; cell--) {
        const columns = Math.max(1, Math.floor(width / cell));
        const lines = Math.ceil(weightCells / columns) + (weightCells > 0 ? 1 : 0) + Math.ceil(pageCells / columns);
        if (lines * cell > height && !(cell === CELL_PX_MIN && perCell > 1 << 16)) continue;
        this.#layout = { cell, columns, perCell, weightCells, pageCells };
        return;
      }
    }
  }

  /** Each cell's holder: of several pages the first that is not free. */
  #fill({ map, holders }: Picture, still: boolean): void {
    const { perCell, pageCells } = this.#layout, now = performance.now();
    const fresh = this.#cells.length !== pageCells;
    if (fresh) {
      this.#cells = new Int32Array(pageCells);
      this.#keys = new Array<string>(pageCells).fill('');
      this.#changedMs = new Float64Array(pageCells).fill(-Infinity);
    }
    this.#cells.fill(-1);
    const keys = holders.map(({ kind, request_id: id, choice, digest }) => `${kind}${id ?? ''}${choice ?? ''}${digest ?? ''}`);
    for (let i = 0, page = 0; i < map.length; i += 2) {
      const holder = map[i]!, free = holders[holder]!.kind === 'free';
      const last = Math.min(pageCells - 1, Math.floor((page + map[i + 1]! - 1) / perCell));
      for (let cell = Math.floor(page / perCell); cell <= last; cell++) if (this.#cells[cell] === -1 || (!free && holders[this.#cells[cell]!]!.kind === 'free')) this.#cells[cell] = holder;
      page += map[i + 1]!;
    }
    for (let cell = 0; cell < pageCells; cell++) {
      const key = keys[this.#cells[cell]!] ?? '';
      if (key === this.#keys[cell]) continue;
      this.#keys[cell] = key;
      if (!fresh && !still) this.#changedMs[cell] = now;
    }
  }
}

function box(context: CanvasRenderingContext2D, x: number, y: number, size: number, round: number): void {
  if (round < 1.5) { context.fillRect(x, y, size, size); return; }
  context.beginPath();
  context.roundRect(x, y, size, size, round);
  context.fill();
}
