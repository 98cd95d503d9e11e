/** The last 60 seconds as cloth: a column for each moment, in it a thread for each row of the batch, in its adapter's colour. */
import type { Picture } from '../api/schema.js';
import { adapterColour, type Palette } from './colours.js';
import { KEPT_MS } from './recorder.js';

/** Fewer threads than these leave room above; more share it. */
const THREADS_MIN = 16;

export function drawWeave(canvas: HTMLCanvasElement, pictures: readonly Picture[], shownMs: number | null, palette: Palette, dark: boolean): void {
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = devicePixelRatio || 1, context = canvas.getContext('2d')!;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  context.setTransform(scale, 0, 0, scale, 0, 0);
  const last = pictures.at(-1)?.at_ms ?? 0;
  const x = (at: number): number => width * (1 - (last - at) / KEPT_MS);
  context.fillStyle = palette.grid;
  for (let second = 0; second <= 60; second += 10) context.fillRect(Math.round(width * (1 - second / 60)) - (second === 0 ? 1 : 0), 0, 1, height);
  const threads = Math.max(THREADS_MIN, ...pictures.map(({ batch }) => batch.length));
  const thick = height / threads;
  for (let i = 0; i < pictures.length; i++) {
    const { at_ms: at, batch } = pictures[i]!;
    const from = x(at), wide = Math.max(1, (pictures[i + 1] === undefined ? width : x(pictures[i + 1]!.at_ms)) - from);
    for (let row = 0; row < batch.length; row++) {
      const { adapters: [adapter], phase } = batch[row]!;
      context.globalAlpha = phase === 'prefill' ? 1 : 0.78;
      context.fillStyle = adapter === undefined ? palette.weightsLine : adapterColour(adapter.digest, dark);
      context.fillRect(from, height - (row + 1) * thick, wide + 0.3, Math.max(1, thick - (thick > 3 ? 1 : 0)));
    }
  }
  context.globalAlpha = 1;
  if (shownMs !== null) {
    context.fillStyle = palette.text;
    context.fillRect(Math.round(x(shownMs)) - 1, 0, 2, height);
  }
}
