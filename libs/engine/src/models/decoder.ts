/**
 * A decoder, recorded once per capacity.
 *
 *   forward   resolve · embed · per layer: norm → attention (attention.ts), norm → MLP (mlp.ts, moe.ts) · final norm
 *   sample    per tile of 64 logit rows: head · soft-cap · sample (head.ts)
 */
import type { BaseGeometry, BaseTensors } from '@weft/adapters';
import { EXTRA_TOKENS, Header, at, copyPages, embed, resolve, type Device, type DeviceBuffer } from '@weft/kernels';
import { Gqa } from './attention.js';
import { Head } from './head.js';
import { Latent } from './latent.js';
import { Mlp } from './mlp.js';
import { Moe } from './moe.js';
import type { PackedMatrix } from './plan.js';
import { Recorder, ref } from './recorder.js';
import type { Activations, Block, BlockWidths, Bucket, KvView, Model, ModelConfig, StepContext, StepLists } from './types.js';
import type { AttentionWeights, DecoderWeights, FeedForwardWeights } from './weights.js';

/** Rows that a device with buckets has lists for: what runs best there depends on them. */
const BUCKETS: readonly number[] = [1, 2, 4, 8, 32, 64, 128, 256, 512, 1024, 2048];

export class Decoder implements Model {
  constructor(
    readonly device: Device, readonly config: ModelConfig, readonly geometry: BaseGeometry, readonly kv: KvView,
    readonly weights: DecoderWeights, readonly weightBytes: number, readonly activations: Activations, readonly tensors: BaseTensors,
  ) {}

  record(context: StepContext): StepLists { return new Lists(this, context).lists(); }
}

/** Who records a layer's attention and its MLP: a line for each kind. */
type Kinds<W extends { kind: string }> = { [K in W['kind']]: { new (recorder: Recorder): Block<Extract<W, { kind: K }>>; widths(weights: Extract<W, { kind: K }>): BlockWidths } };
const ATTENTION: Kinds<AttentionWeights> = { gqa: Gqa, latent: Latent };
const FEED_FORWARD: Kinds<FeedForwardWeights> = { dense: Mlp, moe: Moe };

/** The blocks of one sublayer, one for each kind that the model has. */
class Blocks<W extends { kind: string }> {
  readonly #blocks = new Map<W['kind'], Block<W>>();
  constructor(kinds: Kinds<W>, layers: readonly W[], recorder: Recorder) {
    for (const { kind } of layers) if (!this.#blocks.has(kind)) this.#blocks.set(kind, new kinds[kind as W['kind']](recorder) as Block<W>);
  }
  record(weights: W, layer: number): void { this.#blocks.get(weights.kind)!.record(weights, layer); }
}

function widthsOf<W extends { kind: string }>(kinds: Kinds<W>, layers: readonly W[]): BlockWidths[] {
  return layers.map(weights => kinds[weights.kind as W['kind']].widths(weights as never));
}

/** All matrices below a layer's weights. */
function matricesOf(weights: object): PackedMatrix[] {
  if ('layout' in weights) return [weights as PackedMatrix];
  return Object.values(weights).flatMap((value: unknown) => (typeof value === 'object' && value !== null ? matricesOf(value) : []));
}

class Lists {
  readonly #recorder: Recorder;
  readonly #head: Head;
  readonly #attention: Blocks<AttentionWeights>;
  readonly #mlp: Blocks<FeedForwardWeights>;

  constructor(readonly model: Decoder, readonly context: StepContext) {
    const { layers, head } = model.weights;
    const attention = layers.map(layer => layer.attention), mlp = layers.map(layer => layer.mlp);
    const widths = [...widthsOf(ATTENTION, attention), ...widthsOf(FEED_FORWARD, mlp)];
    const widest = { wide: Math.max(...widths.map(({ wide }) => wide)), inner: Math.max(...widths.map(({ inner }) => inner)) };
    this.#recorder = new Recorder(model, context, widest, [head, ...matricesOf(layers)]);
    this.#head = new Head(this.#recorder);
    this.#attention = new Blocks(ATTENTION, attention, this.#recorder);
    this.#mlp = new Blocks(FEED_FORWARD, mlp, this.#recorder);
  }

  lists(): StepLists {
    const { tokens } = this.context.frame.capacity;
    const buckets = this.model.device.bucketed ? BUCKETS.filter(bucket => bucket < tokens) : [];
    return { buckets: [...buckets, tokens].map(bucket => this.#record(bucket)), ready: this.#recorder.ready, free: () => this.#recorder.free() };
  }

  #record(tokens: number): Bucket {
    const recorder = this.#recorder;
    recorder.begin(tokens);
    this.#copyPages();
    this.#embed();
    this.model.weights.layers.forEach((weights, layer) => {
      recorder.norm(weights.inputNorm, layer === 0 ? null : recorder.delta);
      this.#attention.record(weights.attention, layer);
      this.#outputNorm(weights.attentionOutNorm);
      recorder.norm(weights.postNorm, recorder.delta);
      this.#mlp.record(weights.mlp, layer);
      this.#outputNorm(weights.mlpOutNorm);
    });
    this.#head.record();
    return { tokens, forward: recorder.forward, sample: recorder.sample };
  }

  #outputNorm(weight: DeviceBuffer | null): void {
    if (weight) this.#recorder.norm(weight, null, this.#recorder.output, this.#recorder.delta);
  }

  /** Pages that change owners' hands before anything reads them. */
  #copyPages(): void {
    const { arena, pages, pageBytes } = this.context;
    const { pagePairs } = this.#recorder.capacity;
    if (pagePairs === 0) return;
    this.#recorder.forward.add(copyPages, { pairs: this.#recorder.frame('pagePairs'), arena: at(arena), count: Header.pagePairs, maxPairs: pagePairs, nPages: pages, pageBytes });
  }

  #embed(): void {
    const recorder = this.#recorder;
    const { slots, history, nSlots, maxLen } = this.context;
    const { vocab, hidden, embedScale } = this.model.config;
    const table = this.model.weights.embed ?? this.model.weights.head;
    const rows = recorder.capacity.tokens;
    recorder.forward.add(resolve, {
      tokenIds: recorder.frame('tokenIds'), positions: recorder.frame('positions'), rowSlots: recorder.frame('rowSlots'),
      slots: at(slots), history: at(history), outTokens: at(recorder.tokens), outPositions: at(recorder.positions),
      count: Header.tokens, rows, nSlots, maxLen, vocab: vocab + EXTRA_TOKENS,
    });
    recorder.forward.add(embed, {
      table: at(table.buffer), tokens: at(recorder.tokens), x: ref(recorder.residual),
      count: Header.tokens, rows, vocab, limit: vocab + EXTRA_TOKENS, dim: hidden, dtype: table.dtype, layout: table.layout, ldx: recorder.residual.ld, scale: embedScale,
    });
    recorder.embedded(recorder.residual);
  }
}
