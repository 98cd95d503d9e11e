/** `weft up`: one executor and one gateway on this machine, until told to stop. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VERSION } from '@weft/contracts';
import { DataDir, type Credentials } from './data-dir.js';
import { findModel, type ModelFolder } from './model-folder.js';
import { runOnce } from './once.js';
import type { UpOptions } from './options.js';
import { Supervisor } from './supervisor.js';

const mainOf = (app: string): string => fileURLToPath(new URL(`../../${app}/dist/main.js`, import.meta.url));
/** npm and the terminal both send SIGINT: two within this time are one. */
const SAME_SIGINT_MS = 1000;

/** Returns the exit code. Throws what keeps it from starting. */
export async function up(options: UpOptions, env: NodeJS.ProcessEnv): Promise<number> {
  const found = findModel(options.model, env);
  const model = { ...found, name: options.modelName ?? found.name };
  const temporary = options.dataDir === undefined ? mkdtempSync(join(tmpdir(), 'weft-')) : undefined;
  const dir = DataDir.open(options.dataDir ?? temporary!);
  const supervisor = new Supervisor(line => console.log(line));
  const { stopped, restore } = stopSignals(() => supervisor.kill());
  void stopped.then(() => console.log(`weft stopping: what runs may take ${options.drainTimeout} s more; Ctrl-C ends it`));
  try {
    const credentials = await Promise.race([start(supervisor, dir, options, model), stopped]);
    if (credentials === undefined) return 0;
    dir.announce(credentials.url);
    dir.writeCredentials(credentials);
    if (options.once) return await Promise.race([runOnce(credentials, text => console.log(text)).then(worked => (worked ? 0 : 1)), supervisor.failed, stopped.then(() => 1)]);
    console.log(banner(credentials, model, dir.path));
    console.log(`weft ready ${credentials.url}`);
    await Promise.race([stopped, supervisor.failed]);
    return 0;
  } finally {
    await supervisor.stop(options.drainTimeout * 1000);
    dir.release();
    restore();
    if (temporary !== undefined) rmSync(temporary, { recursive: true, force: true });
  }
}

/** Both services start at once: the gateway finds the executor when the model is loaded. */
async function start(supervisor: Supervisor, dir: DataDir, options: UpOptions, model: ModelFolder): Promise<Credentials> {
  const linkToken = randomBytes(32).toString('base64url');
  const keys = dir.keys(options);
  const shared = { WEFT_MODEL: model.folder, WEFT_MODEL_NAME: model.name, WEFT_LINK_TOKEN: linkToken, WEFT_DRAIN_TIMEOUT: String(options.drainTimeout) };
  let executorAddress = '127.0.0.1:0';
  let url = '';
  const listening = new Promise<void>(resolve => {
    void supervisor.start({
      name: 'executor', main: mainOf('executor'),
      environment: () => defined({
        ...shared, WEFT_EXECUTOR_LISTEN: executorAddress, WEFT_DATA_DIR: dir.path, WEFT_ADAPTERS: options.adapters, WEFT_THREADS: options.threads,
        WEFT_POOL_BYTES: options.poolBytes, WEFT_MAX_MODEL_LEN: options.maxModelLen, WEFT_WEIGHTS: options.weights, WEFT_TRACE: options.trace,
      }),
      onListening: at => { executorAddress = at; resolve(); },
    }).catch(() => undefined);      // told by supervisor.failed
  });
  await Promise.race([listening, supervisor.failed]);
  await supervisor.start({
    name: 'gateway', main: mainOf('gateway'),
    environment: () => defined({
      ...shared, WEFT_HOST: options.host, WEFT_PORT: url === '' ? options.port : new URL(url).port, WEFT_EXECUTOR_ADDRESS: executorAddress,
      WEFT_API_KEY: keys.tenantKey, WEFT_ADMIN_KEY: keys.adminKey, WEFT_CORS_ORIGINS: options.corsOrigins, WEFT_TLS_CERT: options.tlsCert, WEFT_TLS_KEY: options.tlsKey,
    }),
    onListening: at => { url = at; },
  });
  return { url, ...keys };
}

function defined(variables: Record<string, string | number | undefined>): Record<string, string> {
  return Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== undefined).map(([name, value]) => [name, String(value)]));
}

/** `stopped` resolves at the first signal; a later Ctrl-C is for what doesn't stop. */
function stopSignals(kill: () => void): { stopped: Promise<undefined>; restore(): void } {
  let firstMs: number | null = null;
  let stop!: (value: undefined) => void;
  const stopped = new Promise<undefined>(resolve => { stop = resolve; });
  const onSignal = (signal: NodeJS.Signals): void => {
    const now = performance.now();
    if (firstMs === null) {
      firstMs = now;
      stop(undefined);
    } else if (signal === 'SIGINT' && now - firstMs > SAME_SIGINT_MS) {
      kill();
    }
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  return { stopped, restore: () => process.off('SIGINT', onSignal).off('SIGTERM', onSignal) };
}

function banner({ url, tenantKey, adminKey }: Credentials, { name, folder }: ModelFolder, dataDir: string): string {
  const body = JSON.stringify({ model: name, messages: [{ role: 'user', content: 'Hello!' }] });
  return `
Weft ${VERSION} serves ${name} (${folder})
  URL         ${url}
  tenant key  ${tenantKey}
  admin key   ${adminKey}
  also in     ${join(dataDir, 'credentials.json')}

  curl ${url}/v1/chat/completions -H 'Authorization: Bearer ${tenantKey}' -H 'Content-Type: application/json' -d '${body}'
`;
}
