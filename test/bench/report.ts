/** Figures against the aims, and tables of both. Pure: what was measured goes in, text comes out. */
import type { Floor } from './floor.js';
import type { Ceilings } from './machine.js';
import { spread, type Figures, type Spread, type Workload } from './workloads.js';

/** One contender at one workload. */
export interface Line {
  workload: Workload; contender: string; built: string; rounds: Figures[];
  /** Ours only: floors of a decode step and of the prompt, each with the ceilings of before and after that are higher. */
  floors?: { decode: Floor; prefill: Floor; lora: Floor; ceilings: Ceilings };
  /** Why there are no rounds. */
  failed?: string;
}

/** What is measured beside the workloads; absent when it was not. */
export interface Extras {
  /** Shares of read bandwidth: attention at a long context. */
  long?: { context: number; attentionShare: number };
  /** Seconds of a step of 32 rows that no kernel of the model takes: host, and the op that samples. */
  rest?: { hostSeconds: number; sampleSeconds: number; stepSeconds: number };
  busy?: { contender: string; slowdown: Spread; fairShare: number }[];
  memory?: { resident: number; weights: number; pool: number };
  eventLoopMs?: Spread;
  http?: { inside: Spread; through: Spread; total: Spread; llamaServer?: Spread };
}

export interface Aim { work: string; aim: string; reached: string; met: boolean | null; note: string }

type Key = 'decode' | 'prefill';
const LLAMA = ['llama.cpp f16', 'llama.cpp bf16'], BEST = ['llama.cpp bf16', 'openvino bf16', 'vllm bf16'];
const ALL = [...new Set([...LLAMA, ...BEST, 'peft f32', 'peft bf16'])];
const percent = (share: number): string => `${(100 * share).toFixed(0)}%`;
const number = (value: number): string => value.toFixed(value < 100 ? 1 : 0);
export const showSpread = (s: Spread | null): string => (s ? `${number(s.median)} (${number(s.low)}–${number(s.high)})` : '–');

const figure = (line: Line | undefined, key: Key): Spread | null => (line ? spread(line.rounds.map(r => r[key])) : null);

export class Report {
  constructor(readonly lines: readonly Line[], readonly extras: Extras) {}

  #line(workload: string, contender: string): Line | undefined {
    return this.lines.find(l => l.workload.name === workload && l.contender === contender && l.rounds.length > 0);
  }

  /** The fastest by its median. */
  #best(workload: string, contenders: readonly string[], key: Key): Line | undefined {
    const known = contenders.map(c => this.#line(workload, c)).filter(l => figure(l, key) !== null);
    return known.sort((a, b) => figure(b, key)!.median - figure(a, key)!.median)[0];
  }

  #ratio(work: string, workload: string, ours: string, theirs: readonly string[], key: Key, least: number): Aim {
    const mine = this.#line(workload, ours), other = this.#best(workload, theirs, key);
    const aim = `≥ ${least}× ${theirs.length > 2 ? 'the best peer' : theirs.join(' or ')}`;
    if (!figure(mine, key) || !other) return { work, aim, reached: '–', met: null, note: `${mine ? theirs.join(', ') : ours} not measured` };
    const value = figure(mine, key)!.median / figure(other, key)!.median;
    // Rounds took turns: the ratios of neighbours.
    const rounds = spread(mine!.rounds.map((r, i) => (r[key] && other.rounds[i]?.[key] ? r[key] / other.rounds[i][key] : null)));
    return { work, aim, reached: `${value.toFixed(2)}×`, met: value >= least, note: `${other.contender}; by rounds ${rounds ? `${rounds.low.toFixed(2)}–${rounds.high.toFixed(2)}` : '–'}` };
  }

  #share(work: string, what: string, value: number | null, least: number, note = ''): Aim {
    return { work, aim: `≥ ${percent(least)} of ${what}`, reached: value === null ? '–' : percent(value), met: value === null ? null : value >= least, note: value === null ? 'not measured' : note };
  }

  /** Of the floor, read bandwidth or the peak: what a figure of ours uses of it. */
  #of(line: Line | undefined, key: Key, what: 'floor' | 'bytes' | 'flops'): number | null {
    const rate = figure(line, key)?.median;
    if (!rate || !line?.floors) return null;
    const floor = line.floors[key], tokens = key === 'decode' ? line.workload.requests : line.workload.prompt;
    const per = rate / tokens;                                                  // steps, or prompts, a second
    if (what === 'floor') return per * floor.seconds;
    return what === 'bytes' ? (per * floor.bytes) / line.floors.ceilings.read : (per * floor.flops) / line.floors.ceilings.fma;
  }

  #boundOf(line: Line | undefined, key: Key): string {
    const floor = line?.floors?.[key];
    if (!floor) return '';
    return floor.bytesShare > 0.99 ? 'bound: bytes' : floor.bytesShare < 0.01 ? 'bound: flops' : `bound: ${percent(floor.bytesShare)} bytes, ${percent(1 - floor.bytesShare)} flops`;
  }

  aims(): Aim[] {
    const ref = 'weft reference', bf16 = 'weft bf16', int8 = 'weft int8';
    const at = (workload: string, contender = ref): Line | undefined => this.#line(workload, contender);
    const aims: Aim[] = [
      this.#ratio('1 stream', '1-base', ref, LLAMA, 'decode', 1.15),
      this.#share('1 stream', 'read bandwidth', this.#of(at('1-base'), 'decode', 'bytes'), 0.85),
      this.#ratio('1 stream, int8 weights', '1-base', int8, ['llama.cpp q8_0'], 'decode', 1.3),
    ];
    for (const tokens of [512, 4096]) {
      const workload = `prefill-${tokens}`, work = `prompt of ${tokens}`;
      aims.push(
        this.#ratio(work, workload, ref, ['llama.cpp f16'], 'prefill', 1.2),
        this.#ratio(`${work}, bf16 activations`, workload, bf16, BEST, 'prefill', 1.1),
        this.#share(work, 'the multiply-add peak', this.#of(at(workload), 'prefill', 'flops'), 0.75),
      );
    }
    for (const rows of [8, 32]) {
      aims.push(this.#ratio(`${rows} rows, base`, `${rows}-base`, ref, LLAMA, 'decode', 1.5), this.#ratio(`${rows} rows, base, bf16 activations`, `${rows}-base`, bf16, BEST, 'decode', 1.2));
    }
    aims.push(
      this.#ratio('8 rows, 8 adapters', '8-distinct', ref, ALL, 'decode', 4),
      this.#ratio('32 rows, 32 adapters', '32-distinct', ref, ALL, 'decode', 5),
      this.#share('32 rows, 32 adapters', 'the floor', this.#of(at('32-distinct'), 'decode', 'floor'), 0.75, this.#boundOf(at('32-distinct'), 'decode')),
      this.#ratio('32 rows, 32 adapters, bf16 activations', '32-distinct', bf16, ALL, 'decode', 7),
      this.#oneAdapter(), this.#tax(),
    );
    const { long, rest, busy, memory, http } = this.extras;
    aims.push(this.#share(`context of ${long?.context ?? 8192}: attention`, 'read bandwidth', long?.attentionShare ?? null, 0.8));
    aims.push(this.#share('32 streams through HTTP', 'the engine alone', http ? http.through.median / http.inside.median : null, 0.95));
    aims.push(this.#httpRatio());
    const restShare = rest ? (rest.hostSeconds + rest.sampleSeconds) / rest.stepSeconds : null;
    aims.push({
      work: 'rest of a step of 32', aim: '≤ 3% of it', reached: restShare === null ? '–' : `${(100 * restShare).toFixed(1)}%`, met: restShare === null ? null : restShare <= 0.03,
      note: rest ? `host ${(rest.hostSeconds * 1e3).toFixed(2)} ms, sampling ${(rest.sampleSeconds * 1e3).toFixed(2)} ms of ${(rest.stepSeconds * 1e3).toFixed(1)} ms` : 'not measured',
    });
    const ours = busy?.find(b => b.contender.startsWith('weft')), others = busy?.filter(b => b !== ours) ?? [];
    const beyond = ours ? ours.slowdown.median / ours.fairShare : null;
    aims.push({
      work: 'a busy process beside us', aim: '≤ 1.5× the fair share', reached: beyond === null ? '–' : `${beyond.toFixed(2)}×`, met: beyond === null ? null : beyond <= 1.5,
      note: ours ? [`slowdown ${ours.slowdown.median.toFixed(2)}, fair ${ours.fairShare.toFixed(2)}`, ...others.map(o => `${o.contender} ${o.slowdown.median.toFixed(2)}`)].join('; ') : 'not measured',
    });
    const spare = memory ? memory.resident - memory.weights - memory.pool : null;
    aims.push({
      work: 'resident memory', aim: '≤ weights + pool + 150 MB', reached: spare === null ? '–' : `${spare < 0 ? '−' : '+'} ${(Math.abs(spare) / 1e6).toFixed(0)} MB`,
      met: spare === null ? null : spare <= 150e6,
      note: memory ? `${(memory.resident / 1e6).toFixed(0)} MB; weights ${(memory.weights / 1e6).toFixed(0)}, pages used ${(memory.pool / 1e6).toFixed(0)}` : 'not measured',
    });
    return aims;
  }

  #oneAdapter(): Aim {
    const one = figure(this.#line('32-one', 'weft reference'), 'decode'), base = figure(this.#line('32-base', 'weft reference'), 'decode');
    return this.#share('32 rows on one adapter', 'base only', one && base ? one.median / base.median : null, 0.9);
  }

  /** What mixed adapters add to a step, over the bytes and flops that they must add. */
  #tax(): Aim {
    const mixed = this.#line('32-distinct', 'weft reference'), base = this.#line('32-base', 'weft reference');
    const a = figure(mixed, 'decode'), b = figure(base, 'decode'), work = 'LoRA tax, 32 rows', aim = '≤ 1.5× its floor';
    if (!a || !b || !mixed?.floors) return { work, aim, reached: '–', met: null, note: 'not measured' };
    const added = 32 / a.median - 32 / b.median, floor = mixed.floors.lora.seconds;
    return { work, aim, reached: `${(added / floor).toFixed(2)}×`, met: added / floor <= 1.5, note: `${(added * 1e3).toFixed(1)} ms a step; floor ${(floor * 1e3).toFixed(1)} ms` };
  }

  #httpRatio(): Aim {
    const { http } = this.extras, work = '32 streams through HTTP', aim = '≥ 6× llama-server';
    if (!http?.llamaServer) return { work, aim, reached: '–', met: null, note: 'llama-server not measured' };
    const value = http.total.median / http.llamaServer.median;
    return { work, aim, reached: `${value.toFixed(2)}×`, met: value >= 6, note: `prefill and decoding: ${showSpread(http.total)} beside ${showSpread(http.llamaServer)} tokens/s` };
  }

  /** Rows of a workload's table, its head first. */
  table(workload: string): string[][] {
    const lines = this.lines.filter(l => l.workload.name === workload), mine = lines[0];
    const key: Key = mine && mine.workload.fresh > 1 ? 'decode' : 'prefill';
    return [
      ['', 'decode tok/s', 'prefill tok/s', 'of floor', `${mine?.contender ?? ''} ÷ it`, 'build'],
      ...lines.map(line => {
        if (line.failed !== undefined) return [line.contender, line.failed, '', '', '', line.built];
        const share = this.#of(line, key, 'floor'), a = figure(mine, key)?.median, b = figure(line, key)?.median;
        const floor = share === null ? '' : `${percent(share)} of ${number(this.#floorRate(line, key))}`;
        return [line.contender, showSpread(figure(line, 'decode')), showSpread(figure(line, 'prefill')), floor, line !== mine && a && b ? `${(a / b).toFixed(2)}×` : '', line.built];
      }),
    ];
  }

  #floorRate(line: Line, key: Key): number {
    return (key === 'decode' ? line.workload.requests : line.workload.prompt) / line.floors![key].seconds;
  }

  aimTable(): string[][] {
    return [['work', 'aim', 'reached', 'met', ''], ...this.aims().map(a => [a.work, a.aim, a.reached, a.met === null ? '–' : a.met ? 'yes' : 'NO', a.note])];
  }

  get workloads(): string[] { return [...new Set(this.lines.map(l => l.workload.name))]; }
}

/** Columns as wide as their widest cell. */
export function plain(rows: readonly string[][]): string {
  const widths = rows[0]!.map((_, c) => Math.max(...rows.map(r => [...(r[c] ?? '')].length)));
  return rows.map(r => r.map((cell, c) => cell + ' '.repeat(widths[c]! - [...cell].length)).join('  ').trimEnd()).join('\n');
}

export function markdown([head, ...rows]: readonly string[][]): string {
  const row = (cells: readonly string[]): string => `| ${cells.map(c => c.replaceAll('|', '\\|')).join(' | ')} |`;
  return [row(head!), row(head!.map(() => '---')), ...rows.map(row)].join('\n');
}
