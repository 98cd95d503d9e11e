/** Every route of the gateway, with the schemas that it parses with and what it answers. A test holds it against the server's own list. */
import { z } from 'zod';
import { adapterSchema, aliasSchema, fileSchema, filesSchema, versionSchema } from '../adapters/cards.js';
import { adapterPage, adapterPath, aliasBody, aliasPath, filePath, forceQuery, historyPage, sharePath, uploadFields, uploadHeaders, versionPath } from '../adapters/dto.js';
import { auditSchema, createdKeySchema, currentKeySchema, jobSchema, keySchema, tenantSchema, usageSchema } from '../admin/cards.js';
import { adminPage, createKeyBody, idPath, tenantBody, tenantPath, tenantQuery, updateKeyBody, usageQuery } from '../admin/dto.js';
import { chatBody } from '../dto/chat.js';
import { completionBody } from '../dto/completion.js';
import { listSchema, page } from '../dto/list.js';
import { detokenizeBody, tokenizeBody } from '../dto/tokenize.js';
import type { Scope } from '../keys.js';
import { liveQuery, pictureSchema } from '../live.controller.js';
import { modelPage } from '../models.controller.js';
import { chatChunk, chatCompletion, completion, completionChunk, detokenization, executor, health, model, tokenization, version } from './answers.js';

export interface RouteDoc {
  method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  /** With parameters as `{name}`. */
  path: string;
  tag: string;
  summary: string;
  /** What the key needs: a scope, only to be one, or not to be there. */
  access: Scope | 'key' | 'public';
  params?: z.ZodObject;
  query?: z.ZodObject;
  headers?: z.ZodObject;
  body?: z.ZodObject;
  form?: z.ZodObject;
  /** By status; null has no body, a string is of that type. */
  answers: Record<number, z.ZodType | string | null>;
  /** The events of a stream. */
  events?: z.ZodType;
  /** Statuses of errors beside those that the rest implies. */
  errors?: number[];
}

const GENERATION_ERRORS = [404, 429, 500, 504];
const inference = { tag: 'Inference', access: 'inference' } as const;
const adapters = { tag: 'Adapters', access: 'adapters:write' } as const;
const admin = { tag: 'Administration', access: 'admin' } as const;
const status = { tag: 'Status', access: 'public' } as const;
const HTML = 'text/html; charset=utf-8';

export const ROUTES: readonly RouteDoc[] = [
  { ...inference, method: 'post', path: '/v1/chat/completions', summary: 'Answer a conversation', body: chatBody, answers: { 200: chatCompletion }, events: chatChunk, errors: GENERATION_ERRORS },
  { ...inference, method: 'post', path: '/v1/completions', summary: 'Continue a text, or score it', body: completionBody, answers: { 200: completion }, events: completionChunk, errors: GENERATION_ERRORS },
  { ...inference, method: 'get', path: '/v1/models', summary: 'The base and the adapters that the key may name', query: modelPage, answers: { 200: listSchema(model) } },
  { ...inference, method: 'get', path: '/v1/models/{id}', summary: 'One of them; its id may hold slashes', params: z.object({ id: z.string() }), answers: { 200: model }, errors: [404] },
  { ...inference, method: 'post', path: '/tokenize', summary: 'Text or conversation to token ids', body: tokenizeBody, answers: { 200: tokenization }, errors: [404] },
  { ...inference, method: 'post', path: '/detokenize', summary: 'Token ids to text', body: detokenizeBody, answers: { 200: detokenization }, errors: [404] },

  {
    ...adapters, method: 'post', path: '/v1/adapters', summary: 'Upload the files of an adapter\'s folder, each as a part «files»', headers: uploadHeaders,
    form: uploadFields.extend({ files: z.array(z.file()) }), answers: { 200: versionSchema, 202: versionSchema }, errors: [409, 507],
  },
  { ...adapters, access: 'key', method: 'get', path: '/v1/adapters', summary: 'The tenant\'s adapters, by name; for an admin any tenant\'s, by tenant and name', query: adapterPage, answers: { 200: listSchema(adapterSchema) }, errors: [403, 404] },
  { ...adapters, access: 'key', method: 'get', path: '/v1/adapters/{name}', summary: 'One adapter with its versions and aliases', params: adapterPath, answers: { 200: adapterSchema }, errors: [404] },
  { ...adapters, method: 'delete', path: '/v1/adapters/{name}', summary: 'Delete an adapter: requests that run finish on it', params: adapterPath, query: forceQuery, answers: { 204: null }, errors: [404, 409] },
  { ...adapters, access: 'key', method: 'get', path: '/v1/adapters/{name}/versions/{version}', summary: 'One version: how its ingestion stands, and what was found', params: versionPath, answers: { 200: versionSchema }, errors: [404] },
  { ...adapters, access: 'key', method: 'get', path: '/v1/adapters/{name}/versions/{version}/files', summary: 'The files that its digest covers', params: versionPath, answers: { 200: listSchema(fileSchema) }, errors: [404] },
  { ...adapters, method: 'get', path: '/v1/adapters/{name}/versions/{version}/files/{file}', summary: 'A file, as it was uploaded', params: filePath, answers: { 200: 'application/octet-stream' }, errors: [404] },
  { ...adapters, access: 'key', method: 'get', path: '/v1/adapters/{name}/versions/{version}/config', summary: 'Its adapter_config.json, and all files that were kept', params: versionPath, answers: { 200: filesSchema }, errors: [404] },
  { ...adapters, access: 'key', method: 'get', path: '/v1/adapters/{name}/history', summary: 'What was done to an adapter, its versions and aliases, newest first', params: adapterPath, query: historyPage, answers: { 200: listSchema(auditSchema) }, errors: [404] },
  { ...adapters, method: 'delete', path: '/v1/adapters/{name}/versions/{version}', summary: 'Delete a version: requests that run finish on it', params: versionPath, query: forceQuery, answers: { 204: null }, errors: [404, 409] },
  { ...adapters, method: 'put', path: '/v1/adapters/{name}/aliases/{alias}', summary: 'Let an alias name a ready version', params: aliasPath, body: aliasBody, answers: { 200: aliasSchema }, errors: [404, 409] },
  { ...adapters, method: 'delete', path: '/v1/adapters/{name}/aliases/{alias}', summary: 'Delete an alias', params: aliasPath, answers: { 204: null }, errors: [404] },
  { ...adapters, method: 'put', path: '/v1/adapters/{name}/shares/{tenant}', summary: 'Let another tenant use it, as tenant/adapter', params: sharePath, answers: { 204: null }, errors: [404] },
  { ...adapters, method: 'delete', path: '/v1/adapters/{name}/shares/{tenant}', summary: 'End that', params: sharePath, answers: { 204: null }, errors: [404] },

  { ...admin, method: 'post', path: '/v1/tenants', summary: 'Create a tenant', body: tenantBody, answers: { 201: tenantSchema }, errors: [409] },
  { ...admin, method: 'get', path: '/v1/tenants', summary: 'All tenants, newest first', query: page, answers: { 200: listSchema(tenantSchema) } },
  { ...admin, method: 'delete', path: '/v1/tenants/{name}', summary: 'Delete a tenant with its keys and adapters', params: tenantPath, answers: { 204: null }, errors: [404, 409] },
  { ...admin, method: 'post', path: '/v1/keys', summary: 'Create a key. Its secret is told once', body: createKeyBody, answers: { 201: createdKeySchema }, errors: [404] },
  { ...admin, method: 'get', path: '/v1/keys', summary: 'Keys, newest first', query: adminPage, answers: { 200: listSchema(keySchema) }, errors: [404] },
  { ...admin, access: 'key', method: 'get', path: '/v1/keys/current', summary: 'The key that asks', answers: { 200: currentKeySchema } },
  { ...admin, method: 'patch', path: '/v1/keys/{id}', summary: 'Change a key\'s name, limits or end; null takes away', params: idPath, query: tenantQuery, body: updateKeyBody, answers: { 200: keySchema }, errors: [404, 409] },
  { ...admin, method: 'delete', path: '/v1/keys/{id}', summary: 'Revoke a key for good', params: idPath, query: tenantQuery, answers: { 204: null }, errors: [404] },
  { ...admin, access: 'key', method: 'get', path: '/v1/usage', summary: 'Requests and tokens, summed by group', query: usageQuery, answers: { 200: listSchema(usageSchema) }, errors: [403, 404] },
  { ...admin, method: 'get', path: '/v1/jobs', summary: 'Ingestions, newest first', query: adminPage, answers: { 200: listSchema(jobSchema) }, errors: [404] },
  { ...admin, method: 'post', path: '/v1/jobs/{id}/cancel', summary: 'Cancel an ingestion', params: idPath, query: tenantQuery, answers: { 200: jobSchema }, errors: [404, 409] },
  { ...admin, method: 'post', path: '/v1/jobs/{id}/retry', summary: 'Begin one that failed or was cancelled again', params: idPath, query: tenantQuery, answers: { 200: jobSchema }, errors: [404, 409] },
  { ...admin, method: 'get', path: '/v1/audit', summary: 'Who changed what, newest first', query: adminPage, answers: { 200: listSchema(auditSchema) }, errors: [404] },
  { ...admin, method: 'get', path: '/v1/executors', summary: 'What executors serve, and who owns their pools\' pages', answers: { 200: listSchema(executor) } },
  { ...admin, method: 'get', path: '/v1/live', summary: 'What the engines do, as it happens: who owns each page, the batch of the moment, the queue', query: liveQuery, answers: { 200: 'text/event-stream' }, events: pictureSchema },

  { ...status, method: 'get', path: '/health', summary: 'Whether requests are served', answers: { 200: health, 503: health } },
  { ...status, method: 'get', path: '/health/ready', summary: 'The same', answers: { 200: health, 503: health } },
  { ...status, method: 'get', path: '/health/live', summary: 'Whether the process answers', answers: { 200: health } },
  { ...status, method: 'get', path: '/version', summary: 'The version of this server', answers: { 200: version } },
  { ...status, access: 'inference', method: 'get', path: '/metrics', summary: 'Prometheus metrics', answers: { 200: 'text/plain; version=0.0.4; charset=utf-8' } },
  { ...status, method: 'get', path: '/openapi.json', summary: 'This document', answers: { 200: z.looseObject({ openapi: z.string() }) } },
  { ...status, method: 'get', path: '/', summary: 'Leads to the console', answers: { 302: null } },
  { ...status, method: 'get', path: '/console', summary: 'The admin console', answers: { 200: HTML } },
  { ...status, method: 'get', path: '/console/{id}', summary: 'Its pages and files', params: z.object({ id: z.string() }), answers: { 200: HTML }, errors: [404] },
  { ...status, method: 'get', path: '/docs', summary: 'This document as a page', answers: { 200: HTML } },
  { ...status, method: 'get', path: '/docs/{file}', summary: 'What the page loads', params: z.object({ file: z.string() }), answers: { 200: 'application/octet-stream' }, errors: [404] },
];
