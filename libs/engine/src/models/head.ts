/** From rows to tokens: the final norm, and per tile of logit rows head · soft-cap (Gemma 2) · sample. */
import { DType, EXTRA_TOKENS, Header, LOGIT_TILE, at, bound, copyRows, rmsNorm, sample, softcap } from '@weft/kernels';
import { F32_BYTES, input, ref, type Recorder, type Rows } from './recorder.js';

export class Head {
  /** Hidden rows of a tile of logits, where the head does not read them as f32. */
  readonly #input: Rows | null;
  readonly #logits: Rows;

  constructor(readonly recorder: Recorder) {
    const { model: { config, activations, weights }, capacity } = recorder;
    const tileRows = Math.min(LOGIT_TILE, capacity.logits);
    this.#input = activations === 'f32' || weights.head.dtype === DType.int8 ? null : recorder.rows(tileRows, config.hidden, 'head input', activations);
    this.#logits = recorder.rows(tileRows, config.vocab + EXTRA_TOKENS, 'logits');
  }

  record(): void {
    this.#finalNorm();
    for (let row = 0; row < this.recorder.capacity.logits; row += LOGIT_TILE) this.#sampleTile(row);
  }

  /** Only rows that become logits, straight into the step's own hidden rows: the sample list and the host read them there. */
  #finalNorm(): void {
    const { residual, delta, capacity: { tokens, logits }, model: { config: { hidden, normEps }, weights } } = this.recorder;
    this.recorder.forward.add(rmsNorm, {
      r: ref(residual), add: ref(delta), w: at(weights.norm), y: bound('hidden'), index: this.recorder.frame('logitRows'),
      count: Header.logits, rows: logits, srcRows: tokens, dim: hidden,
      ldr: residual.ld, ldAdd: delta.ld, ldy: hidden, eps: normEps, plusOne: this.recorder.plusOne, yType: DType.f32,
    });
  }

  /** Logit rows from `firstRow` on, at most 64: the logits live only until they are reduced. */
  #sampleTile(firstRow: number): void {
    const { recorder } = this;
    const { slots, history, nSlots, maxLen, maskRows, maskWords } = recorder.context;
    const { logits: maxLogits, biasPairs } = recorder.capacity;
    const { config: { hidden, vocab: own, logitSoftcap }, weights: { head } } = recorder.model, vocab = own + EXTRA_TOKENS;
    const tileRows = Math.min(LOGIT_TILE, maxLogits - firstRow);
    const hiddenRows = { x: bound('hidden', firstRow * hidden * F32_BYTES), ldx: hidden, xType: DType.f32 };
    const rows = { count: Header.logits, countFrom: firstRow, rows: tileRows };
    const x = this.#input, logits = this.#logits, list = recorder.sample;
    if (x) list.add(copyRows, { from: hiddenRows.x, to: ref(x), ...rows, dim: hidden, ldFrom: hidden, ldTo: x.ld, toType: DType[x.type] });
    const hiddenInput = x ? input(x) : hiddenRows;
    recorder.addLinear(list, head, null, hiddenInput, logits, rows);
    recorder.logits(hiddenInput, logits, firstRow, tileRows);
    if (logitSoftcap > 0) list.add(softcap, { x: ref(logits), ...rows, dim: vocab, ldx: logits.ld, cap: logitSoftcap });
    list.add(sample, {
      logits: ref(logits), records: recorder.frame('samples'), bias: recorder.frame('bias'), masks: maskRows > 0 ? bound('masks') : null,
      slots: at(slots), history: at(history), results: bound('results'),
      count: Header.logits, firstRow, tileRows, vocab, ldl: logits.ld, maxLogits, biasWords: 2 * biasPairs, maskRows, maskWords, nSlots, maxLen,
    });
  }
}
