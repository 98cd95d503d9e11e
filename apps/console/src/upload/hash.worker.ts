/** Hashes blobs one after another, beside the page. In: {id, blob}; out: {id, bytes} as it goes, then {id, sha256} or {id, error}. */
import { Sha256 } from './sha256.js';

let before = Promise.resolve();
addEventListener('message', ({ data }: MessageEvent<{ id: number; blob: Blob }>) => {
  before = before.then(() => hash(data)).catch((error: unknown) => postMessage({ id: data.id, error: String(error) }));
});

async function hash({ id, blob }: { id: number; blob: Blob }): Promise<void> {
  const sha = new Sha256(), reader = blob.stream().getReader();
  let bytes = 0;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    sha.update(value);
    bytes += value.length;
    postMessage({ id, bytes });
  }
  postMessage({ id, sha256: sha.digest() });
}
