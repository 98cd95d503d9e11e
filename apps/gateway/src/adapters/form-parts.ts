/** A multipart body as its parts, one after another, each a stream of bytes. What is not read yet holds the sender back. */
import type { IncomingMessage } from 'node:http';
import { Busboy, type BusboyFileStream, type BusboyHeaders, type BusboyInstance } from '@fastify/busboy';
import { WeftError } from '@weft/contracts';

export interface FormPart {
  name: string | undefined;
  /** Undefined: a text field. As the client wrote it: a path is not cut to its last part. */
  fileName: string | undefined;
  bytes: AsyncIterable<Buffer>;
}

/** A part's headers are its name, its type and a few that nobody reads. */
const HEADERS_MAX = 16;
const HEADER_BYTES_MAX = 8192;
/** What waits is handed over as one piece of about this many bytes. */
const PIECE_BYTES = 256 * 1024;

/** Calls `take` for each part, when it is done with the one before. Throws invalid_value, what `take` throws, the signal's reason. */
export async function readForm(body: IncomingMessage, partsMax: number, take: (part: FormPart) => Promise<void>, signal: AbortSignal): Promise<void> {
  const form = parser(body, partsMax);
  const parts: BusboyFileStream[] = [];
  let taken = Promise.resolve();
  try {
    await new Promise<void>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error));
      signal.throwIfAborted();
      form.on('file', (name: string | undefined, bytes, fileName: string | undefined) => {
        parts.push(bytes);
        // The form's own error tells it.
        bytes.on('error', () => undefined);
        taken = taken.then(() => take({ name, fileName, bytes })).finally(() => parts.shift());
        taken.catch(reject);
      });
      form.on('partsLimit', () => reject(malformed(`it has more than ${partsMax} parts`)));
      form.on('error', cause => reject(malformed((cause as Error).message, cause)));
      form.on('finish', () => resolve(taken));
      body.pipe(form);
    });
  } finally {
    body.unpipe(form);
    for (const part of parts) part.destroy();
  }
}

function parser(body: IncomingMessage, partsMax: number): BusboyInstance {
  try {
    return new Busboy({
      headers: body.headers as BusboyHeaders, highWaterMark: PIECE_BYTES, fileHwm: PIECE_BYTES, preservePath: true, isPartAFile: () => true,
      limits: { parts: partsMax, headerPairs: HEADERS_MAX, headerSize: HEADER_BYTES_MAX },
    });
  } catch (cause) {
    throw malformed((cause as Error).message, cause);
  }
}

const malformed = (why: string, cause?: unknown): WeftError => new WeftError('invalid_value', `The body is not a valid multipart form: ${why}.`, { cause });
