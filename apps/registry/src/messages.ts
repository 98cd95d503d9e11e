/** Rows as the messages that gateways get. */
import { TEXT_FILES } from '@weft/adapters';
import { registryV1 } from '@weft/contracts';
import type { Alias, Version, VersionFile } from './entities/index.js';

/** Unix milliseconds; 0 for never. */
export const toMillis = (date: Date | null): bigint => BigInt(date?.getTime() ?? 0);
export const fromMillis = (millis: bigint): Date | null => millis === 0n ? null : new Date(Number(millis));

const STATUS = {
  validating: registryV1.VersionStatus.VALIDATING, ready: registryV1.VersionStatus.READY,
  failed: registryV1.VersionStatus.FAILED, deleted: registryV1.VersionStatus.DELETED,
};

/** What of a version is told. Counts come as text where TypeORM did not read them. */
export type VersionRow = Omit<Version, 'tenantId' | 'adapterId' | 'bytes' | 'aliasWhenReady' | 'attempts' | 'finishedAt' | 'deletedAt'> & { bytes: number | string };
export type AliasRow = Pick<Alias, 'alias' | 'version' | 'updatedAt'> & { revision: number | string };

/** Files that a ready version's prompts are made with: text that is not the base's own. */
const ownText = ({ status, files, ignored }: Pick<Version, 'status' | 'files' | 'ignored'>): VersionFile[] =>
  (status === 'ready' ? files.filter(([name]) => TEXT_FILES.has(name) && !ignored.includes(name)) : []);

export function toVersion(row: VersionRow): registryV1.Version {
  const { id, version, digest, baseDigest, base, kind, rank, targetModules, bytes, errors, warnings, ignored, stage, effect } = row;
  return {
    id, version, digest, baseDigest, base, kind, rank, targetModules, bytes: BigInt(bytes), status: STATUS[row.status],
    errors, warnings, ignored, createdAt: toMillis(row.createdAt), readyAt: toMillis(row.readyAt), stage, effect,
    text: ownText(row).map(([name, size, sha256]) => ({ name, size: BigInt(size), sha256 })),
  };
}

export const toAlias = ({ alias, version, revision, updatedAt }: AliasRow): registryV1.Alias => ({ alias, version, revision: BigInt(revision), updatedAt: toMillis(updatedAt) });
