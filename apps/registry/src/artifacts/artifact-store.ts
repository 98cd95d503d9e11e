/** Where uploaded bytes live, under their sha256: in a folder (folder-store.ts) or a bucket (s3-store.ts). */

/** Bytes that are known by their sha256, 64 letters of hex. */
export interface Blob { sha256: string; size: number }

/** A blob being written. Nobody sees it before its commit. */
export interface StagedBlob {
  /** Resolves when the next chunk may come; the chunk must not change afterwards. Throws insufficient_storage, io_error, or registry_lost for a bucket that is away. */
  write(chunk: Uint8Array): Promise<void>;
  /** Ends the writing: all of it is stored. Throws as `write`. */
  finish(): Promise<Blob>;
  /** Makes a finished blob visible under its sha256. The caller holds the collector's shared lock. */
  commit(): Promise<void>;
  /** Removes what was not committed. */
  discard(): Promise<void>;
}

/** A folder that holds blobs under the names of an upload's files. */
export interface LaidOut { path: string; remove(): Promise<void> }

export abstract class ArtifactStore {
  abstract stage(): Promise<StagedBlob>;
  /** Chunks of at most 256 KiB. Throws not_found, io_error for one that has another size than it was stored with, registry_lost. */
  abstract read(blob: Blob): AsyncIterable<Buffer>;
  /** Throws not_found. */
  abstract layOut(files: readonly (Blob & { name: string })[]): Promise<LaidOut>;
  /** sha256 of every blob. */
  abstract list(): AsyncIterable<string>;
  /** The caller holds the collector's exclusive lock: nobody commits the same bytes meanwhile. */
  abstract remove(sha256: string): Promise<void>;
}
