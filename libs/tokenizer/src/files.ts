/** What a checkpoint folder says about its tokenizer, read once and bounded: a folder may come from anywhere. */
import { open, readdir } from 'node:fs/promises';
import path from 'node:path';
import { tokenizerInvalid } from './errors.js';

/** The largest published tokenizer.json (256k tokens with merges) is 34 MB. */
const MAX_TOKENIZER_BYTES = 128 * 1024 * 1024;
/** tokenizer_config.json repeats every added token; the largest published ones stay below 3 MB. */
const MAX_CONFIG_BYTES = 8 * 1024 * 1024;
/** Published chat templates stay below 50 KB. */
const MAX_TEMPLATE_BYTES = 1024 * 1024;
/** More than any model names; bounds their folder. */
const MAX_TEMPLATES = 32;

export const TOKENIZER_FILE = 'tokenizer.json';
export const CONFIG_FILE = 'tokenizer_config.json';
const SPECIAL_TOKENS_FILE = 'special_tokens_map.json';
const TEMPLATE_FILE = 'chat_template.jinja';
const TEMPLATE_FOLDER = 'additional_chat_templates';

export type Json = null | boolean | number | string | Json[] | JsonObject;
export interface JsonObject { [key: string]: Json | undefined }

export interface TokenizerFiles {
  /** The bytes of tokenizer.json, shared so that a worker thread can parse them without a copy. */
  bytes: SharedArrayBuffer;
  /** tokenizer.json, parsed. */
  tokenizer: JsonObject;
  /** tokenizer_config.json with the named tokens of special_tokens_map.json; empty when neither exists. */
  config: JsonObject;
  /** Chat templates by name (`default`, `tool_use`, …), each with the file it came from. */
  templates: Map<string, TemplateSource>;
}

export interface TemplateSource { text: string; file: string }

export async function readTokenizerFiles(dir: string): Promise<TokenizerFiles> {
  const bytes = await readShared(dir, TOKENIZER_FILE);
  if (bytes === undefined) {
    throw tokenizerInvalid(TOKENIZER_FILE, undefined,
      `is missing from ${dir}. Save the checkpoint with the fast tokenizer of transformers, which writes this file.`);
  }
  const tokenizer = parseObject(Buffer.from(bytes).toString('utf8'), TOKENIZER_FILE);
  const config = await readJson(dir, CONFIG_FILE) ?? {};
  // transformers reads the older special_tokens_map.json, over the config, unless the config lists its tokens itself.
  const named = 'added_tokens_decoder' in config ? undefined : await readJson(dir, SPECIAL_TOKENS_FILE);
  return { bytes, tokenizer, config: { ...config, ...named }, templates: await readTemplates(dir, config) };
}

/** `chat_template.jinja` and `additional_chat_templates/*.jinja` win over `chat_template` in the config, as in transformers. */
async function readTemplates(dir: string, config: JsonObject): Promise<Map<string, TemplateSource>> {
  const fromFiles = new Map<string, TemplateSource>();
  const single = await readText(dir, TEMPLATE_FILE, MAX_TEMPLATE_BYTES);
  if (single !== undefined) fromFiles.set('default', { text: single, file: TEMPLATE_FILE });
  const names = (await readdir(path.join(dir, TEMPLATE_FOLDER)).catch(absentFile)) ?? [];
  for (const name of names.filter(name => name.endsWith('.jinja')).sort().slice(0, MAX_TEMPLATES)) {
    const file = `${TEMPLATE_FOLDER}/${name}`;
    const text = await readText(dir, file, MAX_TEMPLATE_BYTES);
    if (text !== undefined) fromFiles.set(name.slice(0, -'.jinja'.length), { text, file });
  }
  return fromFiles.size > 0 ? fromFiles : templatesOfConfig(config);
}

function templatesOfConfig({ chat_template: template }: JsonObject): Map<string, TemplateSource> {
  const templates = new Map<string, TemplateSource>();
  if (template === undefined || template === null) return templates;
  if (typeof template === 'string') return templates.set('default', { text: template, file: CONFIG_FILE });
  const isNamed = (entry: Json): entry is { name: string; template: string } =>
    isObject(entry) && typeof entry.name === 'string' && typeof entry.template === 'string';
  if (!Array.isArray(template) || !template.every(isNamed)) {
    throw tokenizerInvalid(CONFIG_FILE, 'chat_template', 'must be a string or a list of {"name", "template"}.');
  }
  for (const { name, template: text } of template) templates.set(name, { text, file: CONFIG_FILE });
  return templates;
}

export const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

async function readJson(dir: string, file: string): Promise<JsonObject | undefined> {
  const text = await readText(dir, file, MAX_CONFIG_BYTES);
  return text === undefined ? undefined : parseObject(text, file);
}

function parseObject(text: string, file: string): JsonObject {
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch (cause) {
    throw tokenizerInvalid(file, undefined, `is not JSON (${(cause as Error).message}). Copy the file again.`, cause);
  }
  if (!isObject(value)) throw tokenizerInvalid(file, undefined, 'must hold a JSON object.');
  return value;
}

async function readText(dir: string, file: string, maxBytes: number): Promise<string | undefined> {
  const handle = await open(path.join(dir, file)).catch(absentFile);
  if (handle === undefined) return undefined;
  try {
    refuseLarger(file, (await handle.stat()).size, maxBytes);
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

async function readShared(dir: string, file: string): Promise<SharedArrayBuffer | undefined> {
  const handle = await open(path.join(dir, file)).catch(absentFile);
  if (handle === undefined) return undefined;
  try {
    const { size } = await handle.stat();
    refuseLarger(file, size, MAX_TOKENIZER_BYTES);
    const bytes = new SharedArrayBuffer(size);
    for (let at = 0; at < size;) {
      const { bytesRead } = await handle.read(new Uint8Array(bytes), at, size - at, at);
      if (bytesRead === 0) throw tokenizerInvalid(file, undefined, 'shrank while it was read. Load it again.');
      at += bytesRead;
    }
    return bytes;
  } finally {
    await handle.close();
  }
}

function refuseLarger(file: string, sizeBytes: number, maxBytes: number): void {
  if (sizeBytes > maxBytes) {
    throw tokenizerInvalid(file, undefined, `has ${sizeBytes} bytes; at most ${maxBytes} are read.`);
  }
}

/** A file that is not there is undefined; any other failure is one. */
function absentFile(error: unknown): undefined {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
  throw error;
}
