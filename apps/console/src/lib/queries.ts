/** What pages ask for more than once. */
import { useQuery, type UseQueryResult } from '@tanstack/react-query';
import { useMemo } from 'react';
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

/** Names of tenants by their ids; a tenant's own key knows its own only. */
export function useTenantNames(): (id: string) => string {
  const { tenant, tenant_id: own } = useMe();
  const { data } = useTenants();
  return useMemo(() => {
    const names = new Map(data?.map(({ id, name }) => [id, name]));
    return id => names.get(id) ?? (id === own ? tenant : id);
  }, [data, tenant, own]);
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

/** `tenant/name@version` of every digest. */
export function useDigestNames(): Map<string, string> {
  const { data } = useAdapters();
  return useMemo(() => new Map(data?.flatMap(({ tenant, versions }) => versions.map(({ digest, name, version }) => [digest, `${tenant}/${name}@${version}`] as const))), [data]);
}
