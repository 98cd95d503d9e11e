/** What pages ask for more than once. */
import { useQuery, type UseQueryResult } from '@tanstack/react-query';
import { useEffect, useMemo, useRef } from 'react';
import type { Adapter, Executor, Key, Model, Tenant, Usage } from '../api/schema.js';
import { api, everyPage, type List } from './api.js';
import { useMe } from './session.js';

const SLOW_MS = 15_000;

/** For admins every tenant's. */
export function useAdapters(): UseQueryResult<Adapter[]> {
  const { admin } = useMe();
  return useQuery({
    queryKey: ['adapters'], staleTime: SLOW_MS,
    queryFn: ({ signal }) => everyPage<Adapter>('/v1/adapters', ({ tenant, name }) => (admin ? `${tenant}/${name}` : name), { signal, query: { tenant: admin ? '*' : undefined } }),
    refetchInterval: ({ state }) => (state.data?.some(({ versions }) => versions.some(({ status }) => status === 'validating')) ? 1500 : false),
  });
}

export function useTenants(): UseQueryResult<Tenant[]> {
  const { admin } = useMe();
  return useQuery({ queryKey: ['tenants'], staleTime: SLOW_MS, enabled: admin, queryFn: ({ signal }) => everyPage<Tenant>('/v1/tenants', ({ id }) => id, { signal }) });
}

export function useKeys(tenant: string): UseQueryResult<Key[]> {
  const { admin } = useMe();
  return useQuery({ queryKey: ['keys', tenant], enabled: admin, queryFn: ({ signal }) => everyPage<Key>('/v1/keys', ({ id }) => id, { signal, query: { tenant } }) });
}

export function useExecutors(everyMs = 2000): UseQueryResult<Executor[]> {
  const { admin } = useMe();
  return useQuery({ queryKey: ['executors'], enabled: admin, refetchInterval: everyMs, queryFn: async ({ signal }) => (await api<List<Executor>>('/v1/executors', { signal })).data });
}

export function useModels(tenant: string): UseQueryResult<Model[]> {
  const { infers } = useMe();
  return useQuery({ queryKey: ['models', tenant], staleTime: SLOW_MS, enabled: infers, queryFn: async ({ signal }) => (await api<List<Model>>('/v1/models', { signal, tenant })).data });
}

export interface UsageAsk { tenant?: string | undefined; start?: number | undefined; end?: number | undefined; groups: readonly string[] }

export function useUsage({ tenant, start, end, groups }: UsageAsk, everyMs: number | false = false): UseQueryResult<Usage[]> {
  return useQuery({
    queryKey: ['usage', tenant, start, end, ...groups], staleTime: SLOW_MS, refetchInterval: everyMs, placeholderData: before => before,
    queryFn: async ({ signal }) => (await api<List<Usage>>('/v1/usage', { signal, query: { tenant, start, end, group_by: groups.join(','), limit: 10_000 } })).data,
  });
}

/** Asks again for a list that lacks one of `shown`: once for each, since what was deleted is in none. */
function useAskedAgain(shown: readonly string[], knows: ((id: string) => boolean) | undefined, { refetch }: Pick<UseQueryResult, 'refetch'>): void {
  const asked = useRef(new Set<string>());
  const unknown = knows === undefined ? [] : shown.filter(id => !knows(id) && !asked.current.has(id));
  useEffect(() => {
    if (unknown.length === 0) return;
    for (const id of unknown) asked.current.add(id);
    void refetch();
  });
}

/** Names of tenants by their ids; a tenant's own key knows its own only. shown: ids that are asked for, some perhaps of new tenants. */
export function useTenantNames(shown: readonly string[] = []): (id: string) => string {
  const { tenant, tenant_id: own, admin } = useMe();
  const tenants = useTenants(), { data } = tenants;
  const names = useMemo(() => new Map(data?.map(({ id, name }) => [id, name])), [data]);
  useAskedAgain(shown, admin && data !== undefined ? id => names.has(id) : undefined, tenants);
  return useMemo(() => id => names.get(id) ?? (id === own ? tenant : id), [names, tenant, own]);
}

/** Ids of tenants by their names. */
export function useTenantIds(): (name: string) => string | undefined {
  const { tenant, tenant_id: own } = useMe();
  const { data } = useTenants();
  return useMemo(() => {
    const ids = new Map(data?.map(({ id, name }) => [name, id]));
    return name => ids.get(name) ?? (name === tenant ? own : undefined);
  }, [data, tenant, own]);
}

/** `tenant/name@version` of every digest. shown: digests that are asked for, some perhaps of new adapters. */
export function useDigestNames(shown: readonly string[] = []): Map<string, string> {
  const adapters = useAdapters(), { data } = adapters;
  const names = useMemo(() => new Map(data?.flatMap(({ tenant, versions }) => versions.map(({ digest, name, version }) => [digest, `${tenant}/${name}@${version}`] as const))), [data]);
  useAskedAgain(shown, data === undefined ? undefined : digest => names.has(digest), adapters);
  return names;
}
