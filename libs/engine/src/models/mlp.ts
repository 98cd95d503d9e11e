/** The dense gated MLP: down(act(gate) · up). */
import type { Site } from '@weft/adapters';
import type { DeviceBuffer } from '@weft/kernels';
import type { LayerPlanner, MatrixPlan, PackedMatrix, VectorPlan } from './plan.js';
import type { Recorder } from './recorder.js';
import type { Block, BlockWidths, ModelConfig, SiteShape } from './types.js';

export interface MlpWeights<M = PackedMatrix, V = DeviceBuffer> {
  kind: 'dense';
  /** [gate | up] rows × hidden. */
  gateUp: M; gateUpBias: V | null;
  down: M; downBias: V | null;
}

export function planMlp({ hidden, intermediate, fused, mlpBias }: ModelConfig, planner: LayerPlanner): MlpWeights<MatrixPlan, VectorPlan> {
  const gateUp: [string, number][] = fused ? [['mlp.gate_up_proj', 2 * intermediate]] : [['mlp.gate_proj', intermediate], ['mlp.up_proj', intermediate]];
  const down: [string, number][] = [['mlp.down_proj', hidden]];
  return {
    kind: 'dense',
    gateUp: planner.matrix('gate|up', gateUp, hidden), gateUpBias: mlpBias ? planner.bias('gate|up', gateUp) : null,
    down: planner.matrix('down', down, intermediate), downBias: mlpBias ? planner.bias('down', down) : null,
  };
}

export function mlpSites({ hidden, intermediate, fused }: ModelConfig): SiteShape[] {
  const gateUp: SiteShape[] = fused ? [{ name: 'gateUp', module: 'mlp.gate_up_proj', dIn: hidden, dOut: 2 * intermediate }]
    : [{ name: 'gate', module: 'mlp.gate_proj', dIn: hidden, dOut: intermediate }, { name: 'up', module: 'mlp.up_proj', dIn: hidden, dOut: intermediate }];
  return [...gateUp, { name: 'down', module: 'mlp.down_proj', dIn: intermediate, dOut: hidden }];
}

const GATE_UP: readonly Site['name'][] = ['gate', 'up', 'gateUp'], DOWN: readonly Site['name'][] = ['down'];

export class Mlp implements Block<MlpWeights> {
  constructor(readonly recorder: Recorder) {}

  static widths({ gateUp, down }: MlpWeights): BlockWidths { return { wide: gateUp.rows, inner: down.cols }; }

  record(weights: MlpWeights, layer: number): void {
    const { normed, wide, inner, output } = this.recorder;
    this.recorder.linear(weights.gateUp, weights.gateUpBias, normed, wide);
    this.recorder.lora(GATE_UP, layer, normed, wide);
    this.recorder.gatedAct(wide, inner, weights.down.cols);
    this.recorder.linear(weights.down, weights.downBias, inner, output);
    this.recorder.lora(DOWN, layer, inner, output);
  }
}
