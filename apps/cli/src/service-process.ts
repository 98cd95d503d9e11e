/** A service as a child of the supervisor. */
import { fork } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { WeftError, type ServiceReport } from '@weft/contracts';
import type { Running } from './supervisor.js';

/** The compiled program of an app. */
export const programOf = (app: string, program = 'main'): string => fileURLToPath(new URL(`../../${app}/dist/${program}.js`, import.meta.url));

export function forkService(
  program: string, environment: Record<string, string | number | undefined>, say: (line: string) => void, onListening: (at: string) => void = () => undefined,
): Running {
  const child = fork(program, [], { env: { ...inherited(), ...defined(environment) }, stdio: ['ignore', 'pipe', 'pipe', 'ipc'], execArgv: ['--enable-source-maps'] });
  for (const stream of [child.stdout!, child.stderr!]) createInterface({ input: stream }).on('line', say);
  /** It said itself why it can't start. */
  let refused: WeftError | null = null;
  let onReady!: () => void;
  const ready = new Promise<void>(resolve => { onReady = resolve; });
  child.on('message', (message: ServiceReport) => {
    if (message.type === 'listening') onListening(message.at);
    else if (message.type === 'ready') onReady();
    else refused = new WeftError(message.code, message.message, message.details);
  });
  const ended = new Promise<string>((resolve, reject) => {
    child.once('error', cause => reject(new WeftError('internal_error', `${program} can't be started: ${cause.message}`, { cause })));
    // `close` comes behind its last message and its last line.
    child.once('close', (code, signal) => { if (refused === null) resolve(signal ?? `code ${code}`); else reject(refused); });
  });
  return {
    ready, ended,
    async stop(withinMs) {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), withinMs);
      await ended.catch(() => undefined);      // told by `ended` itself
      clearTimeout(timer);
    },
    kill: () => { child.kill('SIGKILL'); },
  };
}

/** A service is configured by its supervisor alone: variables meant for the supervisor don't reach it by themselves. */
function inherited(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('WEFT_')));
}

function defined(variables: Record<string, string | number | undefined>): Record<string, string> {
  return Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== undefined).map(([name, value]) => [name, String(value)]));
}
