/** The OpenAPI 3.1 document, made from the schemas that the routes parse with. */
import { STATUS_CODES } from 'node:http';
import { VERSION } from '@weft/contracts';
import { z } from 'zod';
import * as answers from './answers.js';
import { adapterSchema, aliasSchema, fileSchema, filesSchema, findingSchema, versionSchema } from '../adapters/cards.js';
import { auditSchema, createdKeySchema, currentKeySchema, jobSchema, keySchema, limitsSchema, tenantSchema, usageSchema } from '../admin/cards.js';
import { pictureSchema } from '../live.controller.js';
import { ROUTES, type RouteDoc } from './routes.js';

/** Answers that have a name of their own in the document. */
const NAMED: Record<string, z.ZodType> = {
  Adapter: adapterSchema, AdapterVersion: versionSchema, AdapterFile: fileSchema, AdapterFiles: filesSchema, Finding: findingSchema, Alias: aliasSchema,
  Tenant: tenantSchema, Key: keySchema, CreatedKey: createdKeySchema, CurrentKey: currentKeySchema, Limits: limitsSchema, Usage: usageSchema, Job: jobSchema, AuditEntry: auditSchema,
  Completion: answers.completion, CompletionChunk: answers.completionChunk, ChatCompletion: answers.chatCompletion, ChatCompletionChunk: answers.chatChunk,
  Model: answers.model, Tokenization: answers.tokenization, Detokenization: answers.detokenization, Health: answers.health, Version: answers.version, Executor: answers.executor, Picture: pictureSchema,
  Error: answers.error,
};
const registry = z.registry<{ id: string }>();
for (const [id, schema] of Object.entries(NAMED)) registry.add(schema, { id });

type Json = Record<string, unknown>;

export function openApiDocument(): Json {
  const paths: Record<string, Json> = {};
  for (const route of ROUTES) (paths[route.path] ??= {})[route.method] = operation(route);
  return {
    openapi: '3.1.0',
    info: {
      title: 'Weft', version: VERSION, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      description: 'Many fine-tuned variants of one base model from one copy of its weights. The inference routes are OpenAI\'s.',
    },
    servers: [{ url: '/' }],
    paths,
    components: {
      schemas: namedSchemas(),
      parameters: { tenant: { name: 'x-weft-tenant', in: 'header', description: 'The tenant that an admin\'s key acts for', schema: { type: 'string' } } },
      securitySchemes: { key: { type: 'http', scheme: 'bearer', description: 'An API key' } },
    },
  };
}

function operation(route: RouteDoc): Json {
  const { method, path, tag, summary, access, params, query, headers, body, form } = route;
  const scoped = access !== 'public' && access !== 'key';
  return {
    operationId: method + path.replace(/^\/v1/, '').replace(/[^A-Za-z]+(.)?/g, (_, letter: string | undefined) => letter?.toUpperCase() ?? ''),
    tags: [tag], summary, ...(scoped && { description: `Needs a key with the scope \`${access}\`.` }),
    security: access === 'public' ? [] : [{ key: scoped ? [access] : [] }],
    parameters: [
      ...parameters('path', params), ...parameters('query', query), ...parameters('header', headers),
      ...(access === 'public' ? [] : [{ $ref: '#/components/parameters/tenant' }]),
    ],
    ...(body !== undefined && { requestBody: { required: true, content: { 'application/json': { schema: input(body) } } } }),
    ...(form !== undefined && { requestBody: { required: true, content: { 'multipart/form-data': { schema: input(form) } } } }),
    responses: { ...Object.fromEntries(Object.entries(route.answers).map(([status, answer]) => [status, response(status, answer, route.events)])), ...errors(route) },
  };
}

function parameters(place: 'path' | 'query' | 'header', schema: z.ZodObject | undefined): Json[] {
  if (schema === undefined) return [];
  const { properties = {}, required = [] } = input(schema) as { properties?: Record<string, Json>; required?: string[] };
  return Object.entries(properties).map(([name, property]) => ({ name, in: place, required: required.includes(name), schema: property }));
}

function response(status: string, answer: z.ZodType | string | null, events: z.ZodType | undefined): Json {
  const description = STATUS_CODES[status]!;
  if (answer === null) return { description };
  if (typeof answer === 'string') return { description, content: { [answer]: { schema: { type: 'string' } } } };
  return { description, content: { 'application/json': { schema: output(answer) }, ...(events && { 'text/event-stream': { schema: output(events) } }) } };
}

/** What a route's nature lets go wrong, and what it names itself. */
function errors({ access, params, query, headers, body, form, errors: own = [], answers: told }: RouteDoc): Json {
  const input = [params, query, headers, body, form].some(schema => schema !== undefined);
  const statuses = [
    ...own, ...(input ? [400] : []), ...(body ?? form ? [413, 415] : []),
    ...(access === 'public' ? [] : [401, 503]), ...(access === 'public' || access === 'key' ? [] : [403]),
  ];
  const schema = { $ref: '#/components/schemas/Error' };
  return Object.fromEntries([...new Set(statuses)].filter(status => !(status in told)).sort().map(status => [status, { description: STATUS_CODES[status]!, content: { 'application/json': { schema } } }]));
}

const uri = (id: string): string => `#/components/schemas/${id}`;
/** What zod adds of its own: bounds of every whole number. Answers may get fields that are not named yet. */
const plain = (io: 'input' | 'output') => ({ jsonSchema }: { jsonSchema: z.core.JSONSchema.BaseSchema }): void => {
  if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
  if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
  if (io === 'output' && jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties;
};
/** Fields that are checked by hand describe themselves. */
const input = (schema: z.ZodType): Json => bare(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any', override: plain('input') }));
function output(schema: z.ZodType): Json {
  const id = registry.get(schema)?.id;
  if (id !== undefined) return { $ref: uri(id) };
  const { $defs: _, ...rest } = bare(z.toJSONSchema(schema, { metadata: registry, io: 'output', override: plain('output') }));
  return JSON.parse(JSON.stringify(rest).replaceAll('"#/$defs/', '"#/components/schemas/')) as Json;
}

function namedSchemas(): Json {
  const { schemas } = z.toJSONSchema(registry, { io: 'output', uri, override: plain('output') });
  return Object.fromEntries(Object.entries(schemas).map(([id, schema]) => [id, bare(schema as Json)]));
}

/** The document says once which dialect it is in, and ids are its own. */
function bare({ $schema: _, $id: __, '~standard': ___, ...schema }: Json): Json { return schema; }
