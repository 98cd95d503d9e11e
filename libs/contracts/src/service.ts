/** How a service's process lives: started, told to stop, and bound to the supervisor that forked it, if one did. */
import { describeError, toWeftError, type ErrorCode, type ErrorDetails } from './errors.js';

/** What a service tells its supervisor over the IPC channel. */
export type ServiceReport =
  | { type: 'listening'; at: string }
  | { type: 'ready' }
  /** It can't start, and starting it again would not help. */
  | { type: 'failed'; code: ErrorCode; message: string; details: Pick<ErrorDetails, 'field' | 'tensor' | 'file'> };

export interface Service {
  /** Finishes what runs within the drain time, then frees everything. */
  stop(): Promise<void>;
}

/** Errors that a second try may not meet: the supervisor restarts the service. */
const TRANSIENT: readonly ErrorCode[] = ['internal_error', 'executor_lost', 'registry_lost'];

export function report(message: ServiceReport): void { process.send?.(message); }

/** Runs a service until it is told to stop. The exit code is 0 for a stop in order. */
export async function runService(start: () => Promise<Service>): Promise<void> {
  // Without its supervisor a service would hold the port and the memory for nobody.
  process.once('disconnect', () => process.exit(1));
  let stopping = false;
  let service: Service | undefined;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    if (service === undefined) process.exit(0);
    service.stop().then(() => process.exit(0), fail);
  };
  process.on('SIGTERM', stop);
  // Ctrl-C reaches the whole group at once; under a supervisor the order of stopping is the supervisor's.
  process.on('SIGINT', () => { if (process.send === undefined) stop(); });
  try {
    service = await start();
  } catch (error) {
    fail(error);
  }
}

function fail(thrown: unknown): void {
  const error = toWeftError(thrown);
  if (process.send === undefined || TRANSIENT.includes(error.code)) {
    console.error(error.code === 'internal_error' ? thrown : describeError(error));
    process.exit(1);
  }
  const { field, tensor, file } = error.details;
  // The supervisor tells it. The message must be out before the process is.
  process.send({ type: 'failed', code: error.code, message: error.message, details: { field, tensor, file } } satisfies ServiceReport, () => process.exit(1));
}
