/** Who owns a page, as a colour: KV warm, by tenant; adapters cool, each its own; the base grey. */
import type { Picture } from '../api/schema.js';

export interface Palette { ground: string; free: string; grid: string; weights: string; weightsLine: string; prefix: string; retired: string; text: string; soft: string; accent: string; flash: string }

export const LIGHT: Palette = {
  ground: '#ffffff', free: '#edf0f2', grid: '#dfe3e6', weights: '#c3cbd1', weightsLine: '#98a3ab', prefix: '#8f6bd8', retired: '#b9a99a', text: '#15191c', soft: '#4c565d', accent: '#0b6b63', flash: '#000000',
};
export const DARK: Palette = {
  ground: '#161a1d', free: '#22282c', grid: '#2a3136', weights: '#4a545b', weightsLine: '#68747c', prefix: '#b39af0', retired: '#5b5048', text: '#e8ecee', soft: '#a9b3ba', accent: '#5ed3c4', flash: '#ffffff',
};

export function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  value = Math.imul(value ^ (value >>> 15), 0x85ebca6b);
  return (value ^ (value >>> 13)) >>> 0;
}

/** Cool hues, from green over blue to violet. */
export function adapterColour(digest: string, dark: boolean): string {
  const value = hash(digest);
  const hue = 165 + (value % 125);
  return dark ? `oklch(${0.68 + ((value >>> 8) % 12) / 100} 0.12 ${hue})` : `oklch(${0.56 + ((value >>> 8) % 14) / 100} 0.12 ${hue})`;
}

const WARM = [62, 38, 22, 88, 10, 75, 50, 350];
/** Warm hues, by the order in which tenants were seen. */
export function tenantColour(order: number, dark: boolean): string {
  const hue = WARM[order % WARM.length]!, turn = Math.floor(order / WARM.length);
  return dark ? `oklch(${0.8 - (turn % 3) * 0.08} 0.14 ${hue})` : `oklch(${0.74 - (turn % 3) * 0.08} 0.15 ${hue})`;
}

/** What a cell is painted with. `stripe`: the adapter that a sequence runs on. `active`: the batch of the moment reads it. */
export interface Paint { fill: string; stripe: string | null; active: boolean }

/** One for each holder of a picture. */
export function paintsOf({ holders, batch }: Picture, tenants: readonly string[], palette: Palette, dark: boolean): Paint[] {
  const adapterOf = new Map(batch.map(({ request_id: id, adapters: [adapter] }) => [id, adapter?.digest]));
  const read = new Set(batch.flatMap(({ adapters }) => adapters.map(({ digest }) => digest)));
  return holders.map(({ kind, tenant = '', request_id: id = '', digest = '' }) => {
    switch (kind) {
      case 'sequence': {
        const adapter = adapterOf.get(id);
        return { fill: tenantColour(tenants.indexOf(tenant), dark), stripe: adapter === undefined ? null : adapterColour(adapter, dark), active: adapterOf.has(id) };
      }
      case 'expert': return { fill: adapterColour(digest, dark), stripe: palette.prefix, active: false };
      case 'adapter': return { fill: adapterColour(digest, dark), stripe: null, active: read.has(digest) };
      case 'prefix': return { fill: palette.prefix, stripe: null, active: false };
      case 'retired': return { fill: palette.retired, stripe: null, active: false };
      default: return { fill: palette.free, stripe: null, active: false };
    }
  });
}
