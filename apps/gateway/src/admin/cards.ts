/** Tenants, keys, usage, jobs and audit entries as the API shows them. */
import type { registryV1 } from '@weft/contracts';
import { z } from 'zod';
import { seconds, toSeconds, toSecondsOrNull } from '../dto/time.js';
import { SCOPES, USAGE_GROUPS } from './dto.js';

export const tenantSchema = z.object({ id: z.string(), object: z.literal('tenant'), name: z.string(), created_at: seconds });

export const limitsSchema = z.object({ requests_per_minute: z.int().nullable(), tokens_per_minute: z.int().nullable(), parallel: z.int().nullable() }).describe('null: not limited');
export const keySchema = z.object({
  id: z.string(), object: z.literal('api_key'), tenant_id: z.string(), name: z.string(), hint: z.string().describe('Its first and last letters'),
  scopes: z.array(z.string()).describe(SCOPES.join(', ')), limits: limitsSchema,
  created_at: seconds, expires_at: seconds.nullable(), revoked_at: seconds.nullable(), last_used_at: seconds.nullable(),
});
export const createdKeySchema = keySchema.extend({ secret: z.string().describe('The key itself, told this once') });
export const currentKeySchema = keySchema.pick({ id: true, object: true, tenant_id: true, scopes: true, limits: true, expires_at: true }).extend({ tenant: z.string() });

export const usageSchema = z.object({
  object: z.literal('usage'), ...Object.fromEntries(USAGE_GROUPS.map(group => [group, z.string().optional()])) as Record<typeof USAGE_GROUPS[number], z.ZodOptional<z.ZodString>>,
  requests: z.int(), open: z.int().describe('Not closed yet'), prompt_tokens: z.int(), cached_tokens: z.int(), generated_tokens: z.int(), billed_tokens: z.int(),
  last_at: seconds.nullable().describe('When the last of the requests was opened'),
});

export const jobSchema = z.object({
  id: z.string().describe('Of the version'), object: z.literal('job'), tenant_id: z.string(), adapter: z.string(), version: z.int(), stage: z.string().nullable(),
  state: z.string().describe('waiting, running, completed, failed, cancelled'), attempts: z.int(), error: z.string().nullable(), created_at: seconds, finished_at: seconds.nullable(),
});

export const auditSchema = z.object({
  id: z.string(), object: z.literal('audit_entry'), tenant_id: z.string(), key_id: z.string().nullable(), request_id: z.string().nullable(),
  action: z.string(), subject: z.string(), details: z.record(z.string(), z.unknown()), at: seconds,
});

export const tenantCard = ({ id, name, createdAt }: registryV1.Tenant): z.output<typeof tenantSchema> => ({ id, object: 'tenant', name, created_at: toSeconds(createdAt) });

export const limitsCard = (limits: registryV1.Limits | undefined): z.output<typeof limitsSchema> => ({
  requests_per_minute: limits?.requestsPerMinute || null, tokens_per_minute: limits?.tokensPerMinute || null, parallel: limits?.parallel || null,
});

export function keyCard({ id, tenantId, name, hint, scopes, limits, createdAt, expiresAt, revokedAt, lastUsedAt }: registryV1.Key): z.output<typeof keySchema> {
  return {
    id, object: 'api_key', tenant_id: tenantId, name, hint, scopes, limits: limitsCard(limits), created_at: toSeconds(createdAt),
    expires_at: toSecondsOrNull(expiresAt), revoked_at: toSecondsOrNull(revokedAt), last_used_at: toSecondsOrNull(lastUsedAt),
  };
}

export function usageCard({ group, requests, open, promptTokens, cachedTokens, generatedTokens, billedTokens, lastAt }: registryV1.UsageRow): z.output<typeof usageSchema> {
  return {
    object: 'usage', ...group, requests: Number(requests), open: Number(open), prompt_tokens: Number(promptTokens), cached_tokens: Number(cachedTokens),
    generated_tokens: Number(generatedTokens), billed_tokens: Number(billedTokens), last_at: toSecondsOrNull(lastAt),
  };
}

export function jobCard({ id, tenantId, adapter, version, stage, state, attempts, error, createdAt, finishedAt }: registryV1.Job): z.output<typeof jobSchema> {
  return {
    id, object: 'job', tenant_id: tenantId, adapter, version, stage: stage || null, state, attempts, error: error || null,
    created_at: toSeconds(createdAt), finished_at: toSecondsOrNull(finishedAt),
  };
}

export function auditCard({ id, tenantId, keyId, requestId, action, subject, details, at }: registryV1.AuditEntry): z.output<typeof auditSchema> {
  return {
    id, object: 'audit_entry', tenant_id: tenantId, key_id: keyId || null, request_id: requestId || null, action, subject,
    details: JSON.parse(details) as Record<string, unknown>, at: toSeconds(at),
  };
}
