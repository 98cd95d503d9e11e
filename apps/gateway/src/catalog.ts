/** What a tenant's names mean, as one lookup table: made once for each answer of the registry. */
import type { registryV1 } from '@weft/contracts';

/** One adapter version as requests use it. */
export interface AdapterVersion {
  name: string;
  version: number;
  digest: string;
  /** Tokenizer and chat template in the place of the base's; none: the base's. */
  text: readonly registryV1.ArtifactFile[];
}

export interface CatalogAdapter {
  /** How its tenant calls it, or `<tenant>/<name>` if it is another's. */
  id: string;
  owner: string;
  /** Unix seconds. */
  created: number;
  /** What the bare name means; undefined when its alias `default` names no version that is served. */
  bare: AdapterVersion | undefined;
  versions: ReadonlyMap<string, AdapterVersion>;
}

const LATEST = 'latest';
const DEFAULT = 'default';

export class CatalogView {
  /** By id: own ones, then those of others. */
  readonly adapters: readonly CatalogAdapter[];
  readonly #byName = new Map<string, CatalogAdapter>();

  /** Versions for other bases are not there. */
  constructor(readonly catalog: registryV1.Catalog, readonly baseDigest: string) {
    const { adapters, tenantName } = catalog;
    this.adapters = adapters.map(adapter => adapterOf(adapter, tenantName, baseDigest)).filter(({ versions }) => versions.size > 0).sort(byOwnerAndId);
    for (const adapter of this.adapters) {
      const id = adapter.id.toLowerCase();
      this.#byName.set(id, adapter);
      if (adapter.owner === tenantName) this.#byName.set(`${tenantName.toLowerCase()}/${id}`, adapter);
    }
  }

  /** `name`, `name@alias`, `name@version`, each also behind `tenant/`. Names are compared without regard to case. */
  find(reference: string): AdapterVersion | undefined {
    const at = reference.indexOf('@');
    const adapter = this.#byName.get((at < 0 ? reference : reference.slice(0, at)).toLowerCase());
    return at < 0 ? adapter?.bare : adapter?.versions.get(reference.slice(at + 1));
  }
}

function adapterOf({ name, tenantName, createdAt, versions, aliases }: registryV1.Adapter, viewer: string, baseDigest: string): CatalogAdapter {
  const id = tenantName === viewer ? name : `${tenantName}/${name}`;
  const selectors = new Map<string, AdapterVersion>();
  // Ascending, so that the last one is the newest.
  for (const { version, digest, baseDigest: base, text } of versions) {
    if (base !== baseDigest) continue;
    const resolved = { name: id, version, digest, text };
    selectors.set(String(version), resolved).set(LATEST, resolved);
  }
  const hasDefault = aliases.some(({ alias }) => alias === DEFAULT);
  const named = aliases.map(({ alias, version }) => [alias, selectors.get(String(version))] as const);
  for (const [alias, resolved] of named) if (resolved !== undefined) selectors.set(alias, resolved);
  const bare = selectors.get(hasDefault ? DEFAULT : LATEST);
  return { id, owner: tenantName, created: Math.floor(Number(createdAt) / 1000), bare, versions: selectors };
}

function byOwnerAndId(a: CatalogAdapter, b: CatalogAdapter): number {
  const shared = Number(a.id.includes('/')) - Number(b.id.includes('/'));
  return shared !== 0 ? shared : a.id < b.id ? -1 : 1;
}
