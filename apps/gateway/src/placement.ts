/**
 * Which executor gets a request. An adapter's requests go where its pages already are: rendezvous hashing ranks the executors
 * for each adapter, and the first that is not much busier than the others gets them (bounded loads, Mirrokni et al. 2018).
 */
export interface Candidate {
  readonly addressHash: number;
  /** Sequences that run or wait there. */
  readonly depth: number;
}

/** How much busier than the mean an adapter's executor may be: a factor, and a few so that small numbers don't scatter it. */
const LOAD_FACTOR = 1.25;
const LOAD_SLACK = 4;

/** `turn` breaks ties among equally busy ones: a number that grows. Candidates are not empty. */
export function place<C extends Candidate>(candidates: readonly C[], adapterDigest: string | null, turn: number): C {
  if (candidates.length === 1) return candidates[0]!;
  return adapterDigest === null ? leastBusy(candidates, turn) : firstWithRoom(candidates, hashOf(adapterDigest));
}

function leastBusy<C extends Candidate>(candidates: readonly C[], turn: number): C {
  let best = candidates[turn % candidates.length]!;
  for (let i = 1; i < candidates.length; i++) {
    const candidate = candidates[(turn + i) % candidates.length]!;
    if (candidate.depth < best.depth) best = candidate;
  }
  return best;
}

function firstWithRoom<C extends Candidate>(candidates: readonly C[], adapterHash: number): C {
  const mean = candidates.reduce((sum, { depth }) => sum + depth, 0) / candidates.length;
  const bound = LOAD_FACTOR * mean + LOAD_SLACK;
  let best: C | undefined;
  let bestRank = -1;
  // The least busy one is always within the bound.
  for (const candidate of candidates) {
    if (candidate.depth > bound) continue;
    const rank = mix(adapterHash ^ candidate.addressHash);
    if (rank > bestRank) { best = candidate; bestRank = rank; }
  }
  return best!;
}

/** FNV-1a, 32 bits. */
export function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** The finalizer of MurmurHash3: every bit of the input decides every bit of the rank. */
function mix(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
