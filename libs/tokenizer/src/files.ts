/** What a checkpoint folder says about its tokenizer, read once and bounded: a folder may come from anywhere. */
import { open, readdir, type FileHandle } from 'node:fs/promises';
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
  /** The bytes of tokenizer.json, shared so that a worker thread can parse them without a copy, and parsed; undefined where there is none. */
  bytes: SharedArrayBuffer | undefined;
  tokenizer: JsonObject | undefined;
  /** tokenizer_config.json with the named tokens of special_tokens_map.json; empty when neither exists. */
  config: JsonObject;
  /** Chat templates by name (`default`, `tool_use`, …), each with the file it came from. */
  templates: Map<string, TemplateSource>;
}

export interface TemplateSource { text: string; file: string }

/** `skipTokenizer`: tokenizer.json is not asked for. */
export async function readTokenizerFiles(dir: string, skipTokenizer = false): Promise<TokenizerFiles> {
  const bytes = skipTokenizer ? undefined : await readShared(dir, TOKENIZER_FILE);
  const tokenizer = bytes && parseObject(Buffer.from(bytes).toString('utf8'), TOKENIZER_FILE);
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
  const files = (await readdir(path.join(dir, TEMPLATE_FOLDER)).catch(absentFile)) ?? [];
  const names = files.filter(name => name.endsWith('.jinja')).sort();
  if (names.length > MAX_TEMPLATES) throw tokenizerInvalid(TEMPLATE_FOLDER, undefined, `holds ${names.length} templates; at most ${MAX_TEMPLATES} are read.`);
  for (const name of names) {
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
  return reading(dir, file, maxBytes, handle => handle.readFile('utf8'));
}

async function readShared(dir: string, file: string): Promise<SharedArrayBuffer | undefined> {
  return reading(dir, file, MAX_TOKENIZER_BYTES, async (handle, size) => {
    const bytes = new SharedArrayBuffer(size);
    for (let at = 0; at < size;) {
      const { bytesRead } = await handle.read(new Uint8Array(bytes), at, size - at, at);
      if (bytesRead === 0) throw new Error('it shrank while it was read');
      at += bytesRead;
    }
    return bytes;
  });
}

/** Opens, checks and closes a file around `read`; undefined when there is none. */
async function reading<T>(dir: string, file: string, maxBytes: number, read: (handle: FileHandle, size: number) => Promise<T>): Promise<T | undefined> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path.join(dir, file)).catch(absentFile);
    if (handle === undefined) return undefined;
    const { size } = await handle.stat();
    if (size > maxBytes) throw new Error(`it has ${size} bytes, at most ${maxBytes} are read`);
    return await read(handle, size);
  } catch (cause) {
    throw tokenizerInvalid(file, undefined, `can't be read: ${(cause as Error).message}.`, cause);
  } finally {
    await handle?.close();
  }
}

/** A file that is not there is undefined; any other failure is one. */
function absentFile(error: unknown): undefined {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
  throw error;
}
