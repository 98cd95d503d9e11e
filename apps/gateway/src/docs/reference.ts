/** docs/api.md, out of the document that /openapi.json serves; docs/errors.md, out of the error table. */
import { ERROR_GROUPS, ERRORS, type ErrorCode } from '@weft/contracts';
import { openApiDocument } from './openapi.js';

interface Schema {
  $ref?: string; type?: string | string[]; const?: unknown; enum?: unknown[]; items?: Schema; anyOf?: Schema[]; oneOf?: Schema[]; properties?: Record<string, Schema>; required?: string[];
  description?: string; minimum?: number; maximum?: number; minLength?: number; maxLength?: number; default?: unknown; additionalProperties?: Schema | boolean; format?: string; contentEncoding?: string;
}
interface Content { schema: Schema }
interface Operation {
  tags: string[]; summary: string; security: { key?: string[] }[];
  parameters: { $ref?: string; name: string; in: string; required: boolean; schema: Schema }[];
  requestBody?: { content: Record<string, Content> };
  responses: Record<string, { description: string; content?: Record<string, Content> }>;
}
interface Document { paths: Record<string, Record<string, Operation>>; components: { schemas: Record<string, Schema> } }

const MADE = (from: string): string => `<!-- Made by \`npm run generate\` from ${from}. -->`;
const FIELD_DEPTH = 1;

export function apiReference(): string {
  const { paths, components } = openApiDocument() as unknown as Document;
  const operations = Object.entries(paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method, operation })));
  const tags = [...new Set(operations.map(({ operation }) => operation.tags[0]!))];
  const parts = tags.flatMap(tag => [`## ${tag}`, ...operations.filter(({ operation }) => operation.tags[0] === tag).map(({ path, method, operation }) => operationText(method, path, operation))]);
  const schemas = Object.entries(components.schemas).map(([name, schema]) => `### ${name}\n\n${fields(schema)}`);
  return [
    '# API reference', MADE('the document that a gateway serves at `/openapi.json`, which has every detail'),
    'All under `Authorization: Bearer <key>`; a key of an admin acts for a tenant by `x-weft-tenant`. Lists are `{"object": "list", "data": […], "has_more"}` with `limit` and `after`. Errors are `{"error": {"message", "type", "param", "code"}}`: [errors.md](errors.md). `x-request-id` is on every answer.',
    ...parts, '## Objects', ...schemas,
  ].join('\n\n') + '\n';
}

function operationText(method: string, path: string, { summary, security, parameters, requestBody, responses }: Operation): string {
  const scopes = security[0]?.key;
  const access = scopes === undefined ? 'no key' : scopes.length === 0 ? 'any key' : `scope \`${scopes[0]}\``;
  const rows = parameters.filter(({ $ref, in: place }) => $ref === undefined && place !== 'path').map(({ name, in: place, required, schema }) => `| \`${name}\` | ${place}${required ? ', required' : ''} | ${typeOf(schema)} | ${about(schema)} |`);
  const [[type, body] = []] = Object.entries(requestBody?.content ?? {});
  const answers = Object.entries(responses).map(([status, { content }]) => {
    const [first] = Object.entries(content ?? {});
    return `${status}${first === undefined ? '' : ` ${first[0] === 'application/json' ? typeOf(first[1].schema) : `\`${first[0]}\``}`}`;
  }).filter(answer => !answer.endsWith('[Error](#error)'));
  const errors = Object.keys(responses).filter(status => Number(status) >= 400 && !answers.some(answer => answer.startsWith(status)));
  return [
    `### \`${method.toUpperCase()} ${path}\``, `${summary}. Needs ${access}. Answers ${answers.join(', ')}${errors.length > 0 ? `; errors ${errors.join(', ')}` : ''}.`,
    ...(rows.length > 0 ? [['| parameter | in | type | |', '| --- | --- | --- | --- |', ...rows].join('\n')] : []),
    ...(body === undefined ? [] : [`Body (\`${type}\`):`, fields(body.schema)]),
  ].join('\n\n');
}

function fields({ properties, required = [], ...schema }: Schema, prefix = '', depth = 0): string {
  if (properties === undefined) return typeOf(schema);
  const rows = Object.entries(properties).flatMap(([name, property]) => {
    const row = `| \`${prefix}${name}\`${required.includes(name) ? ' *' : ''} | ${typeOf(property)} | ${about(property)} |`;
    const inner = property.properties !== undefined && depth < FIELD_DEPTH ? fields(property, `${prefix}${name}.`, depth + 1).split('\n').slice(2) : [];
    return [row, ...inner];
  });
  return ['| field | type | |', '| --- | --- | --- |', ...rows].join('\n');
}

const code = (value: unknown): string => `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``;

function typeOf(schema: Schema): string {
  const { $ref, const: only, enum: choices, type, items, anyOf, oneOf, additionalProperties } = schema;
  if ($ref !== undefined) {
    const name = $ref.split('/').at(-1)!;
    return `[${name}](#${name.toLowerCase()})`;
  }
  if (only !== undefined) return code(only);
  if (choices !== undefined) return choices.map(code).join(' ');
  const variants = anyOf ?? oneOf;
  if (variants !== undefined) return [...new Set(variants.map(typeOf))].join(' or ');
  if (type === 'array') return items === undefined ? 'list' : `list of ${typeOf(items)}`;
  if (type === 'object' && typeof additionalProperties === 'object') return `object of ${typeOf(additionalProperties)}`;
  if (type === 'string' && schema.contentEncoding === 'binary') return 'file';
  return [type ?? 'any'].flat().join(' or ');
}

function about({ description, minimum, maximum, minLength, maxLength, default: usual }: Schema): string {
  const range = (least: number | undefined, most: number | undefined, unit: string): string[] =>
    (least === undefined && most === undefined ? [] : [`${least ?? ''}${most === undefined ? ' or more' : `${least === undefined ? 'at most ' : '…'}${most}`}${unit}`]);
  return [description, ...range(minimum, maximum, ''), ...range(minLength, maxLength, ' characters'), ...(usual === undefined ? [] : [`default ${code(usual)}`])].filter(Boolean).join('; ').replaceAll('|', '\\|').replaceAll('\n', ' ');
}

export function errorReference(): string {
  const retry = (errorCode: ErrorCode): string => (ERRORS[errorCode].retry ? 'yes' : 'no');
  const groups = ERROR_GROUPS.map(({ title, codes }) => [
    `## ${title}`,
    ['| code | HTTP | try again | |', '| --- | --- | --- | --- |', ...Object.entries(codes).map(([errorCode, help]) => `| \`${errorCode}\` | ${ERRORS[errorCode as ErrorCode].status} | ${retry(errorCode as ErrorCode)} | ${help} |`)].join('\n'),
  ].join('\n\n'));
  return [
    '# Troubleshooting by error code', MADE('the error table'),
    'Every error has a code, and names the field, tensor or limit that is meant (`param` over HTTP; in what the command prints, behind the code). «Try again» is whether the same request may succeed later: the official clients do so by themselves, and `x-should-retry` tells them when not to. The command\'s exit codes: `weft --help`.',
    ...groups,
  ].join('\n\n') + '\n';
}
