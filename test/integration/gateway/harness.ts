import { fileURLToPath } from 'node:url';
import { loadTokenizer } from '@weft/tokenizer';
import OpenAI from 'openai';
import { startGateway, type Gateway } from '../../../apps/gateway/src/app.js';
import type { GatewayConfig } from '../../../apps/gateway/src/config.js';
import { ExecutorDouble, LINK_TOKEN } from './executor-double.js';
import { adapter, principal, RegistryDouble, TENANT } from './registry-double.js';

export const MODEL_DIR = fileURLToPath(new URL('../../fixtures/models/llama-tiny/base', import.meta.url));
export const BASE = 'org/tiny:base';
export const KEY = 'sk-tenant';
export const ADMIN_KEY = 'sk-admin';

export const tokenizer = await loadTokenizer(MODEL_DIR);

export interface Stack { registry: RegistryDouble; double: ExecutorDouble; gateway: Gateway; url: string; openai: OpenAI; close(): Promise<void> }

export const gatewayConfig = (registryAddress: string, change: Partial<GatewayConfig> = {}): GatewayConfig => ({
  host: '127.0.0.1', port: 0, tls: undefined, corsOrigins: [], modelDir: MODEL_DIR, modelName: BASE, registryAddress, linkToken: LINK_TOKEN, drainTimeoutMs: 500, ...change,
});

export const memberOf = ({ address, description }: ExecutorDouble): { id: string; address: string; baseDigest: string; base: string } =>
  ({ id: description.executorId, address, baseDigest: description.baseDigest, base: BASE });

/** A registry with one tenant, its key, an admin's, and the adapter Pirate. */
export async function startRegistry(executors: readonly ExecutorDouble[]): Promise<RegistryDouble> {
  const registry = await new RegistryDouble(LINK_TOKEN).start();
  registry.keys.set(KEY, principal());
  registry.keys.set(ADMIN_KEY, principal({ keyId: 'admin-key', scopes: ['inference', 'adapters:write', 'admin'] }));
  registry.tenants.set('default', { id: TENANT, name: 'default', createdAt: 0n });
  registry.catalogs.set(TENANT, [adapter('Pirate', ['a'.repeat(64)])]);
  registry.executors = executors.map(memberOf);
  return registry;
}

/** A gateway between doubles of a registry and an executor, all on free ports. */
export async function startStack(change: Partial<GatewayConfig> = {}): Promise<Stack> {
  const double = await new ExecutorDouble().start();
  const registry = await startRegistry([double]);
  const gateway = await startGateway(gatewayConfig(registry.address, change));
  await gateway.served();
  return {
    registry, double, gateway, url: gateway.url, openai: new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: KEY, maxRetries: 0 }),
    async close() { await gateway.stop(); double.kill(); registry.kill(); },
  };
}

/** A JSON request as curl would make it. */
export function post(url: string, path: string, body: unknown, init: RequestInit = {}): Promise<Response> {
  return fetch(url + path, {
    method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json', ...init.headers as Record<string, string> },
    ...(init.signal && { signal: init.signal }),
  });
}

/** The data of all events of a stream. */
export async function events(response: Response): Promise<string[]> {
  return (await response.text()).split('\n\n').filter(Boolean).map(event => event.replace(/^data: /, ''));
}
