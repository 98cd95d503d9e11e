/**
 * Finds a machine's tuning (libs/kernels/src/tuning.ts): from the defaults on, one field after another is doubled or halved
 * as long as the steps of a model get shorter. Judged by the geometric mean over steps of 1, 8, 32 and 512 rows and the
 * LoRA ops of 32 adapters, each the best of many runs.
 */
import { writeFileSync } from 'node:fs';
import { runKernelBench } from './machine.js';

interface Field { name: string; value: number; min: number; max: number }
interface Measured { fields: Field[]; times: Map<string, number> }

/** Less than this is noise. */
const LEAST_GAIN = 0.01;
const ROUNDS = 2;

function measure(isa: string, threads: number, changes: Map<string, number>): Measured {
  const fields: Field[] = [], times = new Map<string, number>();
  for (const line of runKernelBench(isa, threads, 'tune', [...changes].map(([name, value]) => `${name}=${value}`))) {
    const [kind, name, ...numbers] = line.split(' ');
    const [value, min, max] = numbers.map(Number);
    if (kind === 'field') fields.push({ name: name!, value: value!, min: min!, max: max! });
    if (kind === 'time') times.set(name!, value!);
  }
  return { fields, times };
}

/** Mean of the logarithms of new times over old ones. */
const change = (from: Measured, to: Measured): number =>
  [...from.times].reduce((sum, [work, ns]) => sum + Math.log(to.times.get(work)! / ns), 0) / from.times.size;

/** Writes the fields that are better than their defaults, as JSON. */
export function tune(isa: string, threads: number, file: string): void {
  const defaults = measure(isa, threads, new Map());
  const changes = new Map<string, number>();
  let best = defaults;
  for (let round = 0; round < ROUNDS; round++) {
    for (const { name, value, min, max } of defaults.fields) {
      for (const factor of [2, 0.5]) {
        for (;;) {
          const was = changes.get(name) ?? value, wanted = Math.min(max, Math.max(min, Math.round(was * factor)));
          if (wanted === was) break;
          const tried = measure(isa, threads, new Map(changes).set(name, wanted)), gain = -change(best, tried);
          console.log(`${name} ${was} → ${wanted}: ${(100 * gain).toFixed(1)} % faster${gain > LEAST_GAIN ? ', kept' : ''}`);
          if (gain <= LEAST_GAIN) break;
          changes.set(name, wanted);
          best = tried;
        }
      }
    }
  }
  const after = measure(isa, threads, changes);
  for (const [work, ns] of defaults.times) console.log(`${work}: ${(ns / 1e6).toFixed(2)} ms before, ${(after.times.get(work)! / 1e6).toFixed(2)} ms after`);
  writeFileSync(file, `${JSON.stringify(Object.fromEntries(changes), null, 2)}\n`);
  console.log(`${file}: WEFT_TUNING or --tuning reads it`);
}
