/** Adapters and versions as the API shows them. The schemas are what the document at /openapi.json promises. */
import { registryV1 } from '@weft/contracts';
import { z } from 'zod';
import { seconds, toSeconds, toSecondsOrNull } from '../dto/time.js';

const STATUSES = {
  [registryV1.VersionStatus.VALIDATING]: 'validating', [registryV1.VersionStatus.READY]: 'ready',
  [registryV1.VersionStatus.FAILED]: 'failed', [registryV1.VersionStatus.DELETED]: 'deleted',
} as const;

export const findingSchema = z.object({ code: z.string(), message: z.string(), field: z.string().optional(), tensor: z.string().optional(), file: z.string().optional() });

export const versionSchema = z.object({
  id: z.string(), object: z.literal('adapter.version'), name: z.string(), version: z.int(), digest: z.string(), base: z.string(), base_digest: z.string(),
  kind: z.string().nullable(), rank: z.int().nullable(), target_modules: z.array(z.string()), bytes: z.int(),
  status: z.enum(Object.values(STATUSES)),
  stage: z.string().nullable().describe('Of its ingestion: queued, validate, pack, probe; null when that is over'),
  errors: z.array(findingSchema), warnings: z.array(findingSchema),
  ignored: z.array(z.string()).describe('Files of the upload that were not read'),
  text: z.array(z.string()).describe('Files of the upload that prompts are made with instead of the base\'s tokenizer or chat template'),
  effect: z.number().nullable().describe('The largest change of a log-probability that the probe saw'),
  created_at: seconds, ready_at: seconds.nullable(),
});
export type VersionCard = z.output<typeof versionSchema>;

export const filesSchema = z.object({
  object: z.literal('adapter.files'), data: z.array(z.object({ name: z.string(), bytes: z.int(), sha256: z.string() })),
  config: z.record(z.string(), z.unknown()).nullable().describe('adapter_config.json as it was uploaded'),
});

export const aliasSchema = z.object({ object: z.literal('adapter.alias'), alias: z.string(), version: z.int(), revision: z.int(), updated_at: seconds });

export const fileSchema = z.object({ object: z.literal('adapter.file'), name: z.string(), bytes: z.int(), sha256: z.string() });
export type FileCard = z.output<typeof fileSchema>;

export const adapterSchema = z.object({
  id: z.string(), object: z.literal('adapter'), name: z.string(), tenant: z.string(), description: z.string(), created_at: seconds,
  versions: z.array(versionSchema), aliases: z.record(z.string(), z.int()).describe('Alias to version; latest is the newest ready one'),
  shared_with: z.array(z.string()).describe('Names of tenants'),
});
export type AdapterCard = z.output<typeof adapterSchema>;

export function versionCard(name: string, version: registryV1.Version): VersionCard {
  const { id, digest, base, kind, rank, bytes, status, stage, ignored, effect, createdAt, readyAt } = version;
  return {
    id, object: 'adapter.version', name, version: version.version, digest, base, base_digest: version.baseDigest,
    kind: kind || null, rank: rank || null, target_modules: version.targetModules, bytes: Number(bytes),
    status: STATUSES[status as keyof typeof STATUSES] ?? 'deleted', stage: stage || null,
    errors: version.errors.map(finding), warnings: version.warnings.map(finding), ignored, text: version.text.map(file => file.name),
    effect: readyAt === 0n ? null : effect, created_at: toSeconds(createdAt), ready_at: toSecondsOrNull(readyAt),
  };
}

export function adapterCard({ id, name, tenantName, description, createdAt, versions, aliases, sharedWith }: registryV1.Adapter): AdapterCard {
  const latest = versions.findLast(({ status }) => status === registryV1.VersionStatus.READY)?.version;
  return {
    id, object: 'adapter', name, tenant: tenantName, description, created_at: toSeconds(createdAt),
    versions: versions.map(version => versionCard(name, version)),
    aliases: { ...Object.fromEntries(aliases.map(({ alias, version }) => [alias, version])), ...(latest !== undefined && { latest }) },
    shared_with: sharedWith,
  };
}

export function aliasCard({ alias, version, revision, updatedAt }: registryV1.Alias): z.output<typeof aliasSchema> {
  return { object: 'adapter.alias', alias, version, revision: Number(revision), updated_at: toSeconds(updatedAt) };
}

export const fileCard = ({ name, size, sha256 }: registryV1.ArtifactFile): FileCard => ({ object: 'adapter.file', name, bytes: Number(size), sha256 });
/** What was refused for its config may have one that is no JSON. */
export function filesCard({ files, config }: registryV1.VersionFiles): z.output<typeof filesSchema> {
  return { object: 'adapter.files', data: files.map(({ name, size, sha256 }) => ({ name, bytes: Number(size), sha256 })), config: jsonObject(config) };
}

function jsonObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Record<string, unknown> : null;
  } catch {
    return null;
  }
}

/** Only what is known of where it is. */
function finding({ code, message, field, tensor, file }: registryV1.Finding): z.output<typeof findingSchema> {
  return { code, message, ...(field !== '' && { field }), ...(tensor !== '' && { tensor }), ...(file !== '' && { file }) };
}
