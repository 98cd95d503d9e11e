/** Which adapters can act on the same row: what each does to it, and a table of what goes together. */
import type { ImageIndex } from '@weft/adapters';
import { WeftError } from '@weft/contracts';

type Effect = 'adds' | 'scales' | 'ends' | 'resizes' | 'replaces' | 'tunesExperts';
type Effects = Pick<ImageIndex, 'scalesBase' | 'replacesEnds' | 'runs' | 'experts' | 'vocab'>;

/** By what an image does: LoRA adds to what the base answers, DoRA scales it too; rows of embedding and head are replaced; ESFT replaces experts. */
const DOES: Readonly<Record<Effect, (image: Effects) => boolean>> = {
  adds: ({ runs, scalesBase, replacesEnds }) => runs.length > 0 && !scalesBase && !replacesEnds,
  scales: ({ scalesBase }) => scalesBase,
  ends: ({ replacesEnds }) => replacesEnds,
  resizes: ({ vocab }) => vocab !== null,
  replaces: ({ experts }) => experts.length > 0,
  tunesExperts: ({ runs }) => runs.some(run => run.experts !== undefined),
};

const SCALES = "scales what the base answers (use_dora); it can't be combined with others";
const ENDS = "has rows of its own instead of the base's embedding or head (modules_to_save, trainable_token_indices); it can't be combined with another that changes what the base answers";
const RESIZES = "has a vocabulary of its own; it can't be combined with another that has rows of its own";
const REPLACES = "replaces experts of the base, of which a row can have one set; it can't be combined with another that does";
const TUNES = "acts on experts of the base; it can't be combined with one that replaces them";
/** Why one that does the first can't stand beside one that does the second; null: it can. */
const BESIDE: Readonly<Record<Effect, Readonly<Record<Effect, string | null>>>> = {
  adds: { adds: null, scales: null, ends: null, resizes: null, replaces: null, tunesExperts: null },
  scales: { adds: SCALES, scales: SCALES, ends: SCALES, resizes: SCALES, replaces: SCALES, tunesExperts: SCALES },
  ends: { adds: ENDS, scales: null, ends: ENDS, resizes: ENDS, replaces: null, tunesExperts: ENDS },
  resizes: { adds: null, scales: null, ends: RESIZES, resizes: RESIZES, replaces: null, tunesExperts: null },
  replaces: { adds: null, scales: null, ends: null, resizes: null, replaces: REPLACES, tunesExperts: null },
  tunesExperts: { adds: null, scales: null, ends: null, resizes: null, replaces: TUNES, tunesExperts: null },
};
/** Whether its weight can be other than 1. */
const WEIGHED: Readonly<Record<Effect, string | null>> = {
  adds: null, scales: null, ends: null, tunesExperts: null, resizes: "has tokens that the base has not: it can't have a weight other than 1",
  replaces: "replaces experts of the base: it is there or not, and can't have a weight other than 1",
};

const EFFECTS = Object.keys(DOES) as Effect[];
const effectsOf = (image: Effects): Effect[] => EFFECTS.filter(effect => DOES[effect](image));

/** Throws `invalid_value` with the digest of the adapter that does not go with the others, and why. */
export function checkCombination(adapters: readonly { digest: string; weight: number; image: Effects }[]): void {
  const refuse = (digest: string, why: string): never => { throw new WeftError('invalid_value', `adapter ${digest} ${why}`, { param: 'adapters' }); };
  for (const one of adapters) {
    for (const effect of effectsOf(one.image)) {
      if (WEIGHED[effect] !== null && one.weight !== 1) refuse(one.digest, WEIGHED[effect]);
      for (const other of adapters) {
        const why = other === one ? undefined : effectsOf(other.image).map(beside => BESIDE[effect][beside]).find(reason => reason !== null);
        if (why) refuse(one.digest, why);
      }
    }
  }
}
