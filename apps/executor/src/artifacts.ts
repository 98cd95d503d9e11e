/** Adapters by digest: from the cache of packed images, or else from the registry, file by file, checked on the way. */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, open, readdir, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { ADAPTER_BYTES_MAX, ADAPTER_FILES_MAX, classifyFile, digestOf, writeError } from '@weft/adapters';
import { toWeftError, WeftError, type ErrorCode, type registryV1 } from '@weft/contracts';
import type { AdapterSource } from '@weft/engine';
import type { ExecutorConfig } from './config.js';
import { EngineService } from './engine.service.js';
import { RegistryClient } from './registry-client.js';
import { EXECUTOR_CONFIG } from './tokens.js';

/** What a second try may not meet. */
const RETRIED: readonly ErrorCode[] = ['registry_lost', 'image_corrupt', 'io_error'];
const ATTEMPTS_MAX = 4;
const RETRY_MS = 250;
/** Adapters that are fetched at once: more would share the same disk and network. */
const FETCHES_MAX = 4;
/** No fetch takes that long: what is left of one was left by a process that died. */
const LEFT_OVER_MS = 3_600_000;

/** An adapter on its way: given up when nobody waits for it any more. */
interface Flight { done: Promise<void>; waiting: number; abort: AbortController }

const NEVER = new AbortController().signal;

@Injectable()
export class Artifacts {
  readonly #folder: string;
  readonly #engine: EngineService;
  readonly #registry: RegistryClient;
  readonly #flights = new Map<string, Flight>();
  #fetching = 0;
  readonly #queue: (() => void)[] = [];

  constructor(@Inject(EXECUTOR_CONFIG) { dataDir }: Pick<ExecutorConfig, 'dataDir'>, engine: EngineService, registry: RegistryClient) {
    this.#folder = join(dataDir, 'fetched');
    this.#engine = engine;
    this.#registry = registry;
  }

  /**
   * Makes an adapter known to the engine; the same one asked for by several is fetched once. Throws AdapterRefused, WeftError
   * `not_found`, `registry_lost`, `insufficient_storage`, `image_corrupt`, `io_error`, or the signal's reason as soon as it aborts.
   */
  async add(digest: string, signal: AbortSignal, artifact?: registryV1.Artifact): Promise<void> {
    const flight = this.#flights.get(digest) ?? this.#begin(digest, artifact);
    flight.waiting++;
    try {
      await untilAborted(flight.done, signal);
    } finally {
      if (--flight.waiting === 0) {
        flight.abort.abort(new WeftError('cancelled', 'nobody waits for this adapter any more'));
        this.#forget(digest, flight);
      }
    }
  }

  /** Removes what a process that died in a fetch left behind. */
  async cleanUp(): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    for (const name of await readdir(this.#folder)) {
      const path = join(this.#folder, name);
      if (Date.now() - (await stat(path)).mtimeMs > LEFT_OVER_MS) await rm(path, { recursive: true, force: true });
    }
  }

  #begin(digest: string, artifact?: registryV1.Artifact): Flight {
    const abort = new AbortController();
    const source: AdapterSource = (use, signal = NEVER) => this.#withFiles(digest, artifact, signal, use);
    const flight: Flight = { done: this.#engine.library.add(digest, source, abort.signal), waiting: 0, abort };
    this.#flights.set(digest, flight);
    flight.done.catch(() => undefined).finally(() => this.#forget(digest, flight));
    return flight;
  }

  #forget(digest: string, flight: Flight): void {
    if (this.#flights.get(digest) === flight) this.#flights.delete(digest);
  }

  /** Fetches an adapter's files into a folder of its own, which is removed when it has been used. */
  async #withFiles<T>(digest: string, artifact: registryV1.Artifact | undefined, signal: AbortSignal, use: (folder: string) => Promise<T>): Promise<T> {
    if (this.#fetching === FETCHES_MAX) await new Promise<void>(resolve => this.#queue.push(resolve));
    else this.#fetching++;
    try {
      signal.throwIfAborted();
      const { files } = artifact ?? await this.#retried(signal, () => this.#registry.getArtifact(digest));
      checkListing(digest, files);
      const folder = await writing(this.#folder, async () => {
        await mkdir(this.#folder, { recursive: true });
        return mkdtemp(join(this.#folder, `${digest.slice(0, 12)}-`));
      });
      try {
        for (const file of files) await this.#retried(signal, () => this.#fetch(file, folder, signal));
        return await use(folder);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    } finally {
      const next = this.#queue.shift();
      if (next) next();
      else this.#fetching--;
    }
  }

  async #fetch({ name, size, sha256 }: registryV1.ArtifactFile, folder: string, signal: AbortSignal): Promise<void> {
    const path = join(folder, name);
    const file = await writing(path, () => open(path, 'w'));
    try {
      const hash = createHash('sha256');
      let bytes = 0;
      for await (const chunk of this.#registry.fetchBlob(sha256, signal)) {
        bytes += chunk.length;
        if (bytes > Number(size)) break;
        hash.update(chunk);
        await writing(path, () => file.writeFile(chunk));
      }
      if (bytes !== Number(size) || hash.digest('hex') !== sha256) {
        throw new WeftError('image_corrupt', `${name}: what the registry sent is not the file of ${size} bytes with sha256 ${sha256}`, { file: name });
      }
    } finally {
      await file.close();
    }
  }

  async #retried<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await work();
      } catch (error) {
        if (attempt === ATTEMPTS_MAX || !RETRIED.includes(toWeftError(error).code)) throw error;
        await sleep(RETRY_MS * attempt, undefined, { signal }).catch(() => signal.throwIfAborted());
      }
    }
  }
}

/** The digest is of exactly these files, and each is a name in a flat folder. */
function checkListing(digest: string, files: readonly registryV1.ArtifactFile[]): void {
  const listed = digestOf(files.map(({ name, size, sha256 }) => ({ name, size: Number(size), sha256 })));
  const bytes = files.reduce((sum, { size }) => sum + Number(size), 0);
  const flat = files.every(({ name }) => basename(name) === name && classifyFile(name) === 'counted');
  if (listed !== digest || !flat || files.length > ADAPTER_FILES_MAX || bytes > ADAPTER_BYTES_MAX) {
    throw new WeftError('io_error', `the registry lists files of adapter ${digest} that are not its own`);
  }
}

async function writing<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw writeError(path, cause);
  }
}

/** The work's result, or the signal's reason if that comes first. */
function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
