/** Whether a body stays within its bounds. One on its whole time would cut off large ones: this cuts off those that stand still. */
import type { IncomingMessage } from 'node:http';
import { WeftError } from '@weft/contracts';
import { FORM_BYTES_MAX, formTooLarge } from './forms.js';

export interface BodyBounds {
  bytes: number;
  idleMs: number;
  /** A body may take this long, and longer by as much as came at the lowest rate. */
  graceMs: number;
  bytesPerSecond: number;
}

/** The rate is a modem's: what is slower holds a connection rather than sends a file. */
const BOUNDS: BodyBounds = { bytes: FORM_BYTES_MAX, idleMs: 30_000, graceMs: 60_000, bytesPerSecond: 4096 };
const CHECKS = 30;

/**
 * Until the body is complete or closed. Time in which it is not read is not the client's.
 * `fail` hears invalid_value for a slow one, request_too_large for a long one, once.
 */
export function watchBody(body: IncomingMessage, fail: (error: WeftError) => void, bounds = BOUNDS): void {
  const everyMs = bounds.idleMs / CHECKS;
  let bytes = 0;
  let idleMs = 0;
  let readMs = 0;
  const end = (error: WeftError): void => { stop(); fail(error); };
  const timer = setInterval(() => {
    if (body.isPaused()) return;
    idleMs += everyMs;
    readMs += everyMs;
    if (idleMs >= bounds.idleMs || readMs >= bounds.graceMs + (bytes / bounds.bytesPerSecond) * 1000) {
      end(new WeftError('invalid_value', `The body did not arrive in time: ${bytes} bytes in ${Math.round(readMs / 1000)} s, the last of them ${Math.round(idleMs / 1000)} s ago.`));
    }
  }, everyMs);
  const count = (chunk: Buffer): void => {
    bytes += chunk.length;
    idleMs = 0;
    if (bytes > bounds.bytes) end(formTooLarge());
  };
  const stop = (): void => { clearInterval(timer); body.off('data', count); };
  body.on('data', count).once('end', stop).once('close', stop);
}
