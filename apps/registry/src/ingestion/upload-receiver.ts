/** Takes an upload's parts off the wire: fields are checked as they come, files go to the store, and nothing is kept of one that fails. */
import { ADAPTER_BYTES_MAX, ADAPTER_FILES_MAX, classifyFile, digestOf, pickledMessage } from '@weft/adapters';
import { WeftError, type registryV1 } from '@weft/contracts';
import type { ArtifactStore, Blob, StagedBlob } from '../artifacts/artifact-store.js';
import { checkUploadField, UPLOAD_FIELDS, type UploadFieldName } from './upload-fields.js';

/** What file systems hold. */
const FILE_NAME_BYTES_MAX = 255;

export interface UploadLimits { files: number; bytes: number }
const LIMITS: UploadLimits = { files: ADAPTER_FILES_MAX, bytes: ADAPTER_BYTES_MAX };

export interface UploadedFile extends Blob { name: string; staged: StagedBlob }

/** An upload that arrived whole. Its files wait for commit or discard. */
export interface ReceivedUpload {
  begin: registryV1.UploadBegin;
  fields: Partial<Record<UploadFieldName, string>>;
  /** By name. */
  files: UploadedFile[];
  /** Trainers' leftovers: not stored. */
  ignored: string[];
  /** Of the files that count. */
  digest: string;
  discard(): Promise<void>;
}

/** Called as a field arrives, so that a large upload that can't succeed ends at once. Throws what is wrong. */
export type FieldCheck = (field: UploadFieldName, value: string, begin: registryV1.UploadBegin) => Promise<void>;

/**
 * Reads parts until the commit, no faster than the store writes. Throws invalid_value, adapter_file_unsupported,
 * request_too_large or what the store throws; `cancelled` for a stream that ends early.
 */
export async function receiveUpload(parts: AsyncIterable<registryV1.UploadPart>, store: ArtifactStore, check: FieldCheck, limits = LIMITS): Promise<ReceivedUpload> {
  const receiver = new Receiver(store, check, limits);
  try {
    for await (const { body } of parts) {
      if (body?.$case === 'commit') return await receiver.commit();
      await receiver.take(body);
    }
    throw new WeftError('cancelled', 'the upload ended before its commit');
  } catch (error) {
    await receiver.discard();
    throw error;
  }
}

class Receiver {
  #begin: registryV1.UploadBegin | undefined;
  readonly #fields: Partial<Record<UploadFieldName, string>> = {};
  readonly #names = new Set<string>();
  readonly #ignored: string[] = [];
  readonly #files: UploadedFile[] = [];
  #bytes = 0;
  /** The file whose bytes arrive; null for one that is ignored. */
  #current: { name: string; staged: StagedBlob | null } | undefined;

  constructor(readonly store: ArtifactStore, readonly check: FieldCheck, readonly limits: UploadLimits) {}

  async take(body: registryV1.UploadPart['body']): Promise<void> {
    if (body?.$case === 'begin') {
      if (this.#begin !== undefined) throw new WeftError('invalid_value', 'an upload begins once', { param: 'begin' });
      this.#begin = body.value;
      return;
    }
    if (body?.$case === 'bytes') return this.#write(body.value);
    await this.#endFile();
    if (body?.$case === 'field') await this.#field(body.value);
    else if (body?.$case === 'file') await this.#beginFile(body.value);
  }

  async commit(): Promise<ReceivedUpload> {
    await this.#endFile();
    const begin = this.#begun();
    const counted = this.#files.filter(({ name }) => classifyFile(name) === 'counted');
    if (counted.length === 0) {
      const only = this.#names.size === 0 ? '' : `; ${[...this.#names].slice(0, 10).join(', ')} is not read`;
      throw new WeftError('invalid_value', `there is no file of an adapter${only}: send one part "files" for each file of its folder`, { param: 'files' });
    }
    this.#files.sort((a, b) => (a.name < b.name ? -1 : 1));
    return {
      begin, fields: this.#fields, files: this.#files, ignored: this.#ignored.sort(), digest: digestOf(counted), discard: () => this.discard(),
    };
  }

  async discard(): Promise<void> {
    await this.#current?.staged?.discard();
    for (const { staged } of this.#files) await staged.discard();
  }

  #begun(): registryV1.UploadBegin {
    if (this.#begin === undefined) throw new WeftError('invalid_value', 'an upload starts with its begin', { param: 'begin' });
    return this.#begin;
  }

  async #field({ name, value }: registryV1.UploadField): Promise<void> {
    const field = UPLOAD_FIELDS.find(known => known === name);
    if (field === undefined) throw new WeftError('invalid_value', `${JSON.stringify(name)} is no field of an upload; there are ${UPLOAD_FIELDS.join(', ')} and files`, { param: name });
    if (this.#fields[field] !== undefined) throw new WeftError('invalid_value', `${field} is given twice`, { param: field });
    checkUploadField(field, value);
    this.#fields[field] = value;
    await this.check(field, value, this.#begun());
  }

  async #beginFile(name: string): Promise<void> {
    this.#begun();
    const refuse = (what: string): never => { throw new WeftError('invalid_value', `file name ${JSON.stringify(name.slice(0, FILE_NAME_BYTES_MAX))} ${what}`, { param: 'files', file: name.slice(0, FILE_NAME_BYTES_MAX) }); };
    if (name === '' || name === '.' || name === '..' || /[/\\\0]/.test(name)) refuse('is not flat; an adapter is a folder of files without subfolders');
    if (Buffer.byteLength(name) > FILE_NAME_BYTES_MAX) refuse(`is longer than ${FILE_NAME_BYTES_MAX} bytes`);
    if (this.#names.has(name)) refuse('comes twice');
    if (this.#names.size === this.limits.files) throw new WeftError('request_too_large', `an adapter has at most ${this.limits.files} files`, { param: 'files', limit: this.limits.files });
    this.#names.add(name);
    const kind = classifyFile(name);
    if (kind === 'pickled') throw new WeftError('adapter_file_unsupported', pickledMessage(name), { param: 'files', file: name });
    if (kind === 'ignored') this.#ignored.push(name);
    this.#current = { name, staged: kind === 'ignored' ? null : await this.store.stage() };
  }

  async #write(chunk: Uint8Array): Promise<void> {
    if (this.#current === undefined) throw new WeftError('invalid_value', 'bytes come behind the name of their file', { param: 'files' });
    this.#bytes += chunk.byteLength;
    if (this.#bytes > this.limits.bytes) throw new WeftError('request_too_large', `the upload has more than ${this.limits.bytes} bytes`, { param: 'files', limit: this.limits.bytes });
    await this.#current.staged?.write(chunk);
  }

  async #endFile(): Promise<void> {
    if (this.#current === undefined) return;
    const { name, staged } = this.#current;
    if (staged !== null) {
      const blob = await staged.finish();
      this.#files.push({ name, staged, ...blob });
    }
    this.#current = undefined;
  }
}
