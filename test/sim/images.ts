/** Images of adapters that only the pool looks at. */
import type { AdapterImage } from '@weft/engine';

const image = (digest: string, rest: Pick<AdapterImage['index'], 'kind' | 'pages' | 'runs' | 'experts'>): AdapterImage => ({
  file: '', index: { layout: 1, digest, baseDigest: '', pageBytes: 4096, partition: { rank: 0, size: 1 }, crc32c: [], maxRank: 8, scalesBase: false, replacesEnds: false, vocab: null, actsOnHead: false, payloadBytes: 0, ...rest },
});

/** Of `pages` pages. */
export const loraImage = (digest: string, pages: number): AdapterImage => image(digest, {
  kind: 'lora', pages, experts: [], runs: [{ layer: 0, site: 0, half: 0, dtype: 'bf16', rank: 8, scale: 1, unitBytes: 128, units: 0, tail: 0, segs: [] }],
});

/** Experts by their content, of `pages` pages each. */
export const expertImage = (digest: string, contents: readonly number[], pages: number): AdapterImage => image(digest, {
  kind: 'esft', pages: contents.length * pages, runs: [],
  experts: contents.map((content, i) => ({ layer: 0, expert: i, hash: `e${content}`, dtype: 'bf16' as const, page: i * pages, pages })),
});
