/** Tokenizers and chat templates that came with adapters: read from the registry when they are first needed, and kept while they are used. */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { WeftError, type registryV1 } from '@weft/contracts';
import { loadAdapterTokenizer, TemplateThread, type Tokenizer } from '@weft/tokenizer';
import { FilesService } from './adapters/files.service.js';
import type { ResolvedModel } from './model-directory.js';
import { TOKENIZER } from './tokens.js';

/** A template takes some 10 KB, a vocabulary of 128 Ki tokens 100 MB with its thread. */
const TEMPLATES_MAX = 1000, VOCABULARIES_MAX = 8;
/** Above the largest published tokenizer.json. */
const FILE_BYTES_MAX = 64 * 2 ** 20;
/** Who was given a tokenizer that is not kept any more still encodes with it. */
const CLOSE_MS = 60_000;
const TOKENIZER_FILE = 'tokenizer.json';

@Injectable()
export class AdapterTexts implements OnModuleDestroy {
  readonly #thread = new TemplateThread();
  /** By content; least recently used first. */
  readonly #templates = new Map<string, Promise<Tokenizer>>();
  readonly #vocabularies = new Map<string, Promise<Tokenizer>>();

  constructor(@Inject(TOKENIZER) private readonly base: Tokenizer, private readonly files: FilesService) {}

  /** What prompts for this model are made with. Throws tokenizer_invalid, io_error, registry_lost. */
  of({ adapter }: ResolvedModel): Tokenizer | Promise<Tokenizer> {
    if (adapter === null || adapter.text.length === 0) return this.base;
    const { text } = adapter, kept = text.some(({ name }) => name === TOKENIZER_FILE) ? this.#vocabularies : this.#templates;
    const key = createHash('sha256').update(JSON.stringify(text.map(({ name, sha256 }) => [name, sha256]))).digest('base64');
    const tokenizer = kept.get(key) ?? this.#load(text, () => kept.delete(key));
    kept.delete(key);
    kept.set(key, tokenizer);
    if (kept.size > (kept === this.#templates ? TEMPLATES_MAX : VOCABULARIES_MAX)) this.#drop(kept);
    return tokenizer;
  }

  async onModuleDestroy(): Promise<void> {
    await this.#thread.close();
    for (const tokenizer of this.#vocabularies.values()) await tokenizer.then(loaded => loaded.close(), () => undefined);
  }

  /** One that failed is asked for again. */
  async #load(text: readonly registryV1.ArtifactFile[], forget: () => void): Promise<Tokenizer> {
    const folder = await mkdtemp(join(tmpdir(), 'weft-text-'));
    try {
      for (const file of text) {
        if (file.size > FILE_BYTES_MAX) throw new WeftError('tokenizer_invalid', `${file.name} has ${file.size} bytes; at most ${FILE_BYTES_MAX} are read.`, { file: file.name, limit: FILE_BYTES_MAX });
        await pipeline(this.files.read(file), createWriteStream(join(folder, file.name)));
      }
      return await loadAdapterTokenizer(folder, this.base, this.#thread);
    } catch (error) {
      forget();
      throw error;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  #drop(kept: Map<string, Promise<Tokenizer>>): void {
    const [key, tokenizer] = kept.entries().next().value!;
    kept.delete(key);
    if (kept === this.#vocabularies) setTimeout(() => void tokenizer.then(loaded => loaded.close(), () => undefined), CLOSE_MS).unref();
  }
}
