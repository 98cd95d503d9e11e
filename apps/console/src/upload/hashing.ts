/** SHA-256 of blobs in a worker of their own. */
interface Told { id: number; bytes?: number; sha256?: string; error?: string }

let nextId = 0;

/** In their order. Throws the signal's reason, or what could not be read. */
export function hashAll(blobs: readonly Blob[], onBytes: (bytes: number) => void, signal: AbortSignal): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./hash.worker.ts', import.meta.url), { type: 'module' });
    const first = nextId;
    nextId += blobs.length;
    const hashes: string[] = [];
    let done = 0;
    const end = (): void => worker.terminate();
    signal.addEventListener('abort', () => { end(); reject(signal.reason as Error); });
    worker.addEventListener('error', event => { end(); reject(new Error(event.message || 'the hashing stopped')); });
    worker.addEventListener('message', ({ data: { id, bytes, sha256, error } }: MessageEvent<Told>) => {
      if (error !== undefined) { end(); reject(new Error(error)); return; }
      if (bytes !== undefined) { onBytes(done + bytes); return; }
      done += blobs[id - first]!.size;
      hashes.push(sha256!);
      if (hashes.length === blobs.length) { end(); resolve(hashes); }
    });
    blobs.forEach((blob, at) => worker.postMessage({ id: first + at, blob }));
    if (blobs.length === 0) { end(); resolve([]); }
  });
}
