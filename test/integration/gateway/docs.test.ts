import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GatewayModule } from '../../../apps/gateway/src/gateway.module.js';
import { gatewayConfig, KEY, startStack, tokenizer, type Stack } from './harness.js';

interface Operation { operationId: string; security: object[]; responses: Record<string, unknown>; parameters: { name?: string; in?: string }[] }
interface Document { openapi: string; paths: Record<string, Record<string, Operation>>; components: { schemas: Record<string, unknown> } }

let stack: Stack;
let document: Document;
beforeAll(async () => {
  stack = await startStack();
  document = await (await fetch(`${stack.url}/openapi.json`)).json() as Document;
});
afterAll(() => stack.close());

const operations = (): [string, Operation][] =>
  Object.entries(document.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]): [string, Operation] => [`${method} ${path}`, operation]));

test('every route that is served is in the document, and none else', async () => {
  const adapter = new FastifyAdapter();
  const served = new Set<string>();
  (adapter.getInstance() as unknown as FastifyInstance).addHook('onRoute', ({ method, url }) => {
    for (const one of [method].flat()) if (one !== 'HEAD' && one !== 'OPTIONS') served.add(`${one.toLowerCase()} ${url.replace(/:(\w+)/g, '{$1}').replace('*', '{id}')}`);
  });
  const app = await NestFactory.create<NestFastifyApplication>(GatewayModule.with(gatewayConfig('127.0.0.1:1'), tokenizer), adapter, { logger: false });
  await app.init();
  await app.close();
  expect(operations().map(([route]) => route).sort()).toEqual([...served].sort());
});

test('references resolve, ids are unique, path parameters are all there', () => {
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, path]) => path!);
  expect(references.length).toBeGreaterThan(50);
  for (const path of references) expect(path.split('/').reduce<unknown>((at, part) => (at as Record<string, unknown> | undefined)?.[part], document), path).toBeDefined();
  const ids = operations().map(([, { operationId }]) => operationId);
  expect(new Set(ids).size).toBe(ids.length);
  for (const [route, { parameters }] of operations()) {
    const named = parameters.filter(parameter => parameter.in === 'path').map(({ name }) => name);
    expect(named, route).toEqual([...route.matchAll(/\{(\w+)\}/g)].map(([, name]) => name));
  }
});

test('a route needs a key exactly if the document says so', async () => {
  for (const [route, { security, responses }] of operations()) {
    const [method, path] = route.split(' ') as [string, string];
    const form = path === '/v1/adapters' && method === 'post';
    const response = await fetch(stack.url + path.replace(/\{\w+\}/g, 'start.js'), {
      method: method.toUpperCase(), redirect: 'manual', headers: form ? { 'content-type': 'multipart/form-data; boundary=x' } : {}, ...(form && { body: '--x--' }),
    });
    await response.arrayBuffer();
    expect([route, response.status === 401], route).toEqual([route, security.length > 0]);
    expect(Object.keys(responses), route).toContain(String(response.status));
  }
});

describe('the page', () => {
  test('loads only what is here, and runs nothing inline', async () => {
    const response = await fetch(`${stack.url}/docs`);
    const html = await response.text();
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(response.headers.get('content-security-policy')).toContain("default-src 'none'; script-src 'self'");
    expect(html).not.toMatch(/https?:|<script(?! src)|<style| on\w+=/);
    const links = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link!);
    expect(links).toHaveLength(4);
    for (const link of links) {
      const file = await fetch(new URL(link, stack.url));
      expect([file.status, file.headers.get('x-content-type-options')]).toEqual([200, 'nosniff']);
      expect((await file.arrayBuffer()).byteLength).toBeGreaterThan(50);
    }
  });

  test.each(['package.json', '..%2Fpackage.json', 'swagger-ui-bundle.js.map', '%2Fetc%2Fpasswd'])('%s is no file of it', async name => {
    expect((await fetch(`${stack.url}/docs/${name}`)).status).toBe(404);
  });
});

test('what the document lets through is what the routes parse with', () => {
  const body = (path: string, method = 'post'): unknown => (document.paths[path]![method] as unknown as { requestBody: { content: Record<string, { schema: unknown }> } }).requestBody.content;
  expect(body('/v1/adapters')).toMatchObject({ 'multipart/form-data': { schema: { required: ['name', 'files'], properties: { alias: { pattern: '^[a-z][a-z0-9._-]{0,31}$' } } } } });
  expect(body('/v1/chat/completions')).toMatchObject({ 'application/json': { schema: { properties: { top_logprobs: { maximum: 20 }, n: { default: 1, maximum: 128 } } } } });
  expect(body('/v1/completions')).toMatchObject({ 'application/json': { schema: { properties: { prompt: { anyOf: [{ type: 'string' }, {}, {}, {}] } }, required: ['model', 'prompt'] } } });
  expect(body('/v1/adapters/{name}/aliases/{alias}', 'put')).toMatchObject({ 'application/json': { schema: { properties: { version: { type: 'integer', minimum: 1 } }, required: ['version'] } } });
});

test('answers are as the document says', async () => {
  const headers = { authorization: `Bearer ${KEY}` };
  const model = (await (await fetch(`${stack.url}/v1/models/pirate`, { headers })).json()) as object;
  expect(Object.keys(model).sort()).toEqual([...(document.components.schemas.Model as { required: string[] }).required].sort());
});
