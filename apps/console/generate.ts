/** Rewrites src/api/schema.ts, the API's answers as types, from the gateway's OpenAPI document (`npm run generate`), or writes to the file that is given. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openApiDocument } from '../gateway/src/docs/openapi.js';

interface Schema {
  $ref?: string; type?: string | string[]; const?: unknown; enum?: unknown[]; anyOf?: Schema[]; items?: Schema; description?: string;
  properties?: Record<string, Schema>; required?: string[]; additionalProperties?: Schema | boolean;
}

const { schemas } = openApiDocument().components as { schemas: Record<string, Schema> };

function typeOf(schema: Schema, indent: string): string {
  const { $ref, anyOf, items, properties, additionalProperties } = schema;
  if ($ref !== undefined) return $ref.split('/').pop()!;
  if (anyOf !== undefined) return anyOf.map(one => typeOf(one, indent)).join(' | ');
  if ('const' in schema) return literal(schema.const);
  if (schema.enum !== undefined) return schema.enum.map(literal).join(' | ');
  if (Array.isArray(schema.type)) return schema.type.map(type => typeOf({ ...schema, type }, indent)).join(' | ');
  switch (schema.type) {
    case 'string': return 'string';
    case 'integer': case 'number': return 'number';
    case 'boolean': return 'boolean';
    case 'null': return 'null';
    case 'array': return `Array<${typeOf(items ?? {}, indent)}>`;
    case 'object':
      if (properties !== undefined && Object.keys(properties).length > 0) return fieldsOf(schema, indent);
      return `Record<string, ${typeof additionalProperties === 'object' ? typeOf(additionalProperties, indent) : 'unknown'}>`;
    default: return 'unknown';
  }
}

function fieldsOf({ properties = {}, required = [] }: Schema, indent: string): string {
  const inner = `${indent}  `;
  const lines = Object.entries(properties).map(([name, field]) => {
    const comment = field.description === undefined ? '' : `${inner}/** ${field.description} */\n`;
    return `${comment}${inner}${/^\w+$/.test(name) ? name : literal(name)}${required.includes(name) ? '' : '?'}: ${typeOf(field, inner)};\n`;
  });
  return `{\n${lines.join('')}${indent}}`;
}

const literal = (value: unknown): string => (typeof value === 'string' ? `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'` : JSON.stringify(value));

const types = Object.keys(schemas).sort().map(name => `export type ${name} = ${typeOf(schemas[name]!, '')};\n`);
const out = process.argv[2] ?? fileURLToPath(new URL('src/api/schema.ts', import.meta.url));
writeFileSync(out, `// Made by generate.ts from the gateway's OpenAPI document. Do not edit.\n\n${types.join('\n')}`);
