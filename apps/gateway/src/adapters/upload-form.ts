/** What an upload's form holds, checked while it comes: text fields, each once, and files by flat names. */
import { WeftError, type registryV1 } from '@weft/contracts';
import { parse } from '../dto/parse.js';
import { fileName as fileNameRule, isUploadField, uploadFields, type UploadFieldName } from './dto.js';
import type { FormPart } from './form-parts.js';

export type Send = (part: registryV1.UploadPart['body']) => Promise<void>;

/** As many as the registry takes in one adapter. */
export const FILES_MAX = 256;
export const PARTS_MAX = FILES_MAX + Object.keys(uploadFields.shape).length;
/** Longer than any field may be, in bytes. */
const FIELD_BYTES_MAX = 8192;

const someFields = uploadFields.partial();
const UTF8 = new TextDecoder('utf-8', { fatal: true });

export class UploadForm {
  readonly #send: Send;
  readonly #fields: Partial<Record<UploadFieldName, string>> = {};
  readonly #files = new Set<string>();

  constructor(send: Send) { this.#send = send; }

  /** Hands one part on. Throws invalid_value with its name. */
  async take({ name, fileName, bytes }: FormPart): Promise<void> {
    if (name === 'files') return this.#takeFile(fileName ?? '', bytes);
    if (name === undefined || !isUploadField(name)) throw refusal(name, `Unknown part ${JSON.stringify(name ?? '')}. Files are parts «files», texts are ${Object.keys(uploadFields.shape).join(', ')}.`);
    if (fileName !== undefined) throw refusal(name, `${name}: A text, not a file`);
    if (this.#fields[name] !== undefined) throw refusal(name, `${name}: More than once`);
    const value = await readText(name, bytes);
    this.#fields[name] = value;
    parse(someFields, { [name]: value });
    await this.#send({ $case: 'field', value: { name, value } });
  }

  /** Everything is there. Throws invalid_value with what is missing. */
  async commit(): Promise<void> {
    parse(uploadFields, this.#fields);
    if (this.#files.size === 0) throw refusal('files', 'files: Missing. Each file of the adapter\'s folder is a part «files».');
    await this.#send({ $case: 'commit', value: {} });
  }

  async #takeFile(name: string, bytes: AsyncIterable<Buffer>): Promise<void> {
    const checked = fileNameRule.safeParse(name);
    if (!checked.success) throw refusal('files', `files: ${JSON.stringify(name.slice(0, 100))}: ${checked.error.issues[0]!.message}`);
    if (this.#files.has(name)) throw refusal('files', `files: ${JSON.stringify(name)}: More than once`);
    this.#files.add(name);
    await this.#send({ $case: 'file', value: name });
    for await (const piece of bytes) await this.#send({ $case: 'bytes', value: piece });
  }
}

async function readText(name: string, bytes: AsyncIterable<Buffer>): Promise<string> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of bytes) {
    pieces.push(piece);
    if ((length += piece.length) > FIELD_BYTES_MAX) throw refusal(name, `${name}: Longer than ${FIELD_BYTES_MAX} bytes`);
  }
  try {
    return UTF8.decode(Buffer.concat(pieces));
  } catch (cause) {
    throw refusal(name, `${name}: Not UTF-8`, cause);
  }
}

const refusal = (param: string | undefined, message: string, cause?: unknown): WeftError => new WeftError('invalid_value', message, { param, cause });
