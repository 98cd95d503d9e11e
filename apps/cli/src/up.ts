/** `weft up`: a database, a registry, an executor and a gateway on this machine, until told to stop. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Env, VERSION, WeftError } from '@weft/contracts';
import { listAdapters, uploadAll, type AdapterFolders, type Refused } from './adapter-folders.js';
import { Api } from './api.js';
import { DataDir, type Credentials } from './data-dir.js';
import { databaseUrls, type DatabaseUrls } from './database-urls.js';
import { DEMO, DEMO_ADAPTERS, readQuestions, type Questions } from './demo.js';
import { runDemo } from './demo-scenario.js';
import { freePort } from './free-port.js';
import { LogFile } from './log-file.js';
import { findModel, type ModelFolder } from './model-folder.js';
import { runOnce, type Apis } from './once.js';
import type { UpOptions } from './options.js';
import { startPostgres } from './postgres/postgres.js';
import { forkService, programOf } from './service-process.js';
import { Supervisor, type Unit } from './supervisor.js';
import { UpStatus } from './up-status.js';

/** npm and the terminal both send SIGINT: two within this time are one. */
const SAME_SIGINT_MS = 1000;

/** Who stops first: the highest. */
const LEVEL = { postgres: 0, registry: 1, executor: 2, gateway: 3 } as const;

const PARTS = ['PostgreSQL', 'registry', 'executor', 'gateway'];

/** Returns the exit code. Throws what keeps it from starting. */
export async function up(options: UpOptions, env: NodeJS.ProcessEnv): Promise<number> {
  const found = findModel(options.model, env);
  const model = { ...found, name: options.modelName ?? found.name };
  const questions = options.model === DEMO && options.demo ? readQuestions() : undefined;
  const adapters = [questions && DEMO_ADAPTERS, options.adapters].filter(folder => folder !== undefined).map(listAdapters);
  const services = readServices(env, options);
  const temporary = options.dataDir === undefined ? mkdtempSync(join(tmpdir(), 'weft-')) : undefined;
  const dir = DataDir.open(options.dataDir ?? temporary!);
  const file = new LogFile(dir.path);
  const status = new UpStatus(process.stdout, PARTS.filter(part => part !== 'PostgreSQL' || services.databaseUrl === undefined));
  const log = (line: string): void => { status.log(line); file.write(line); };
  const supervisor = new Supervisor(log);
  const { stopped, restore } = stopSignals(() => supervisor.kill());
  void stopped.then(() => {
    log(`weft stopping: what runs may take ${options.drainTimeout} s more; Ctrl-C ends it`);
    status.stopping('stopping …');
  });
  /** The work's result, unless a stop or a failure comes before it. */
  const unlessStopped = <T>(work: Promise<T>): Promise<T | undefined> => Promise.race([work, stopped, supervisor.failed]);
  // A scenario that was stopped did not work.
  const stoppedEarly = options.once ? 1 : 0;
  try {
    const credentials = await unlessStopped(start(supervisor, status, dir, options, model, services));
    if (credentials === undefined) return stoppedEarly;
    dir.announce(credentials.url);
    dir.writeCredentials(credentials);
    const apis = apisOf(credentials, options);
    const refused = await unlessStopped(uploadFolders(apis.tenant, adapters, log, status));
    if (refused === undefined) return stoppedEarly;
    if (options.once) {
      const scenario = questions === undefined ? runOnce(apis, refused, log) : runDemo(apis, questions, refused, log);
      return await unlessStopped(scenario) === true ? 0 : 1;
    }
    // The keys are for who sits here, not for the log.
    status.log(banner(credentials, model, dir.path, questions));
    status.watch(apis.admin);
    log(`weft ready ${credentials.url}`);
    await Promise.race([stopped, supervisor.failed]);
    return 0;
  } finally {
    await supervisor.stop(options.drainTimeout * 1000);
    status.end();
    file.close();
    dir.release();
    restore();
    if (temporary !== undefined) rmSync(temporary, { recursive: true, force: true });
  }
}

/** Files that a GPU is used by, where they are not the usual ones. */
const GPU_FILES = ['WEFT_CUDA_DRIVER', 'WEFT_CUDA_MODULE', 'WEFT_CUBLASLT'] as const;

/** Services and files of the user's own that are to be used. */
interface GivenServices { databaseUrl: string | undefined; redisUrl: string | undefined; s3: Record<string, string>; gpuFiles: Record<string, string | undefined> }

/** Throws option_invalid. */
function readServices(variables: NodeJS.ProcessEnv, { dataDir }: UpOptions): GivenServices {
  const env = new Env(variables);
  const databaseUrl = env.optional('WEFT_DATABASE_URL');
  if (databaseUrl !== undefined && dataDir === undefined) {
    throw new WeftError('option_invalid', 'the database of WEFT_DATABASE_URL would outlive a temporary data directory, whose files belong to it: give --data-dir too', { field: 'data-dir' });
  }
  // The registry knows what they are.
  const s3 = Object.fromEntries(Object.entries(variables).filter((entry): entry is [string, string] => entry[0].startsWith('WEFT_S3_') && entry[1] !== undefined));
  return { databaseUrl, redisUrl: env.optional('WEFT_REDIS_URL'), s3, gpuFiles: Object.fromEntries(GPU_FILES.map(name => [name, env.optional(name)])) };
}

/** Everything starts at once: the model is loaded while the database is made. */
async function start(supervisor: Supervisor, status: UpStatus, dir: DataDir, options: UpOptions, model: ModelFolder, { databaseUrl, redisUrl, s3, gpuFiles }: GivenServices): Promise<Credentials> {
  const keys = dir.keys(options);
  const secrets = dir.secrets();
  const link = { WEFT_LINK_TOKEN: randomBytes(32).toString('base64url'), WEFT_DRAIN_TIMEOUT: options.drainTimeout };
  const serves = { ...link, WEFT_MODEL: model.folder, WEFT_MODEL_NAME: model.name };
  // Chosen here: the others look for it before it is there.
  const registryAddress = `127.0.0.1:${await freePort()}`;
  let executorAddress = '127.0.0.1:0';
  let url = '';

  const registryStarts = async (): Promise<void> => {
    const { ownerUrl, serviceUrl } = databaseUrl === undefined ? await status.during('PostgreSQL', startDatabase(supervisor, dir)) : databaseUrls(databaseUrl, secrets.servicePassword);
    const database = { WEFT_DATABASE_URL: serviceUrl, WEFT_REDIS_URL: redisUrl };
    await supervisor.finish({
      name: 'migrate', level: LEVEL.registry,
      start: say => forkService(programOf('registry', 'migrate'), { ...database, ...s3, WEFT_DATABASE_OWNER_URL: ownerUrl }, say),
    });
    await supervisor.start({
      name: 'registry', level: LEVEL.registry,
      start: say => forkService(programOf('registry'), {
        ...link, ...database, ...s3, WEFT_REGISTRY_LISTEN: registryAddress, WEFT_ARTIFACTS_DIR: join(dir.path, 'artifacts'),
        WEFT_KEY_PEPPER: secrets.pepper, WEFT_API_KEY: keys.tenantKey, WEFT_ADMIN_KEY: keys.adminKey,
      }, say),
    });
  };
  const executorStarts = supervisor.start({
    name: 'executor', level: LEVEL.executor,
    start: say => forkService(programOf('executor'), {
      ...serves, WEFT_EXECUTOR_LISTEN: executorAddress, WEFT_REGISTRY_ADDRESS: registryAddress, WEFT_DATA_DIR: dir.path, WEFT_THREADS: options.threads, WEFT_ISA: options.isa,
      ...gpuFiles, WEFT_DEVICE: options.device, WEFT_DETERMINISTIC: options.deterministic ? 'on' : undefined, WEFT_POOL_BYTES: options.poolBytes, WEFT_MAX_MODEL_LEN: options.maxModelLen, WEFT_WEIGHTS: options.weights, WEFT_KV: options.kv,
      WEFT_ACTIVATIONS: options.activations, WEFT_PACKED_CACHE: options.packedCache, WEFT_TUNING: options.tuning, WEFT_TRACE: options.trace,
    }, say, at => { executorAddress = at; }),
  });
  const gatewayStarts = supervisor.start({
    name: 'gateway', level: LEVEL.gateway,
    start: say => forkService(programOf('gateway'), {
      ...serves, WEFT_REGISTRY_ADDRESS: registryAddress, WEFT_HOST: options.host, WEFT_PORT: url === '' ? options.port : new URL(url).port,
      WEFT_CORS_ORIGINS: options.corsOrigins, WEFT_TLS_CERT: options.tlsCert, WEFT_TLS_KEY: options.tlsKey,
    }, say, at => { url = at; }),
  });
  await Promise.all([status.during('registry', registryStarts()), status.during('executor', executorStarts), status.during('gateway', gatewayStarts)]);
  return { url, ...keys };
}

/** The embedded one. Whoever restarts it finds it where it was: the services hold its address. */
async function startDatabase(supervisor: Supervisor, dir: DataDir): Promise<DatabaseUrls> {
  let urls: DatabaseUrls | undefined;
  const unit: Unit = {
    name: 'postgres', level: LEVEL.postgres,
    async start(say) {
      const server = await startPostgres(dir.path, dir.secrets(), say);
      if (urls !== undefined && server.ownerUrl !== urls.ownerUrl) {
        await server.stop(0);
        throw new WeftError('port_in_use', `port ${new URL(urls.ownerUrl).port} was taken while PostgreSQL was down`);
      }
      urls = server;
      return { ready: Promise.resolve(), ended: server.died.then(() => 'what its log tells'), stop: withinMs => server.stop(withinMs), kill: () => server.kill() };
    },
  };
  await supervisor.start(unit);
  return urls!;
}

async function uploadFolders(api: Api, folders: AdapterFolders[], log: (line: string) => void, status: UpStatus): Promise<Refused[]> {
  const refused: Refused[] = [];
  for (const folder of folders) refused.push(...await uploadAll(api, folder, log, (done, total) => status.uploads(done, total)));
  return refused;
}

/** Its own certificate it need not ask anybody about. */
function apisOf({ url, tenantKey, adminKey }: Credentials, { tlsCert }: UpOptions): Apis {
  const certificate = tlsCert === undefined ? undefined : readFileSync(tlsCert);
  return { tenant: new Api(url, tenantKey, { certificate }), admin: new Api(url, adminKey, { certificate }) };
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

function banner({ url, tenantKey, adminKey }: Credentials, { name, folder }: ModelFolder, dataDir: string, questions: Questions | undefined): string {
  const first = { model: questions?.tenants[0]?.adapter ?? name, messages: questions?.question.messages ?? [{ role: 'user', content: 'Hello!' }] };
  return `
Weft ${VERSION} serves ${name} (${folder})
  URL         ${url}
  tenant key  ${tenantKey}
  admin key   ${adminKey}
  also in     ${join(dataDir, 'credentials.json')}

  curl ${url}/v1/chat/completions -H 'Authorization: Bearer ${tenantKey}' -H 'Content-Type: application/json' -d '${JSON.stringify(first).replaceAll('\'', '\'\\\'\'')}'
`;
}
