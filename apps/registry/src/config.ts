import { tmpdir } from 'node:os';
import { Env, WeftError } from '@weft/contracts';
import { readS3Config, type S3Config } from './artifacts/s3-config.js';

export interface RegistryConfig {
  /** Where gateways and executors reach it; port 0 takes a free one. */
  listenHost: string;
  listenPort: number;
  /** What callers must show. */
  linkToken: string;
  /** Logs in as the service's role, which is neither owner nor superuser. */
  databaseUrl: string;
  /** Where jobs wait; without one, in the same database. */
  redisUrl: string | undefined;
  /** Blobs and uploads under way are kept below it; with a bucket, only files that are being checked. */
  artifactsDir: string;
  /** Where blobs are instead. */
  s3: S3Config | undefined;
  /** Keys are stored as HMACs under it: whoever reads the database alone learns no key. */
  keyPepper: string;
  /** Keys of tenant `default` that the environment sets. */
  apiKey: string | undefined;
  adminKey: string | undefined;
  drainTimeoutMs: number;
}

const DEFAULT_DRAIN_S = 30;

/** Throws option_invalid with the variable's name. */
export function readConfig(variables: NodeJS.ProcessEnv): Readonly<RegistryConfig> {
  const env = new Env(variables);
  const [listenHost, listenPort] = hostAndPort(env.optional('WEFT_REGISTRY_LISTEN') ?? '127.0.0.1:0');
  const apiKey = env.optional('WEFT_API_KEY');
  const adminKey = env.optional('WEFT_ADMIN_KEY');
  if (apiKey !== undefined && apiKey === adminKey) throw new WeftError('option_invalid', 'WEFT_ADMIN_KEY equals WEFT_API_KEY; choose another one', { field: 'WEFT_ADMIN_KEY' });
  const s3 = readS3Config(env);
  return Object.freeze({
    listenHost, listenPort,
    linkToken: env.string('WEFT_LINK_TOKEN'),
    databaseUrl: databaseUrl(env, 'WEFT_DATABASE_URL'),
    redisUrl: env.optional('WEFT_REDIS_URL'),
    artifactsDir: s3 === undefined ? env.string('WEFT_ARTIFACTS_DIR') : env.optional('WEFT_ARTIFACTS_DIR') ?? tmpdir(),
    s3,
    keyPepper: env.string('WEFT_KEY_PEPPER'),
    apiKey, adminKey,
    drainTimeoutMs: (env.integer('WEFT_DRAIN_TIMEOUT', { min: 0, max: 86_400 }) ?? DEFAULT_DRAIN_S) * 1000,
  });
}

export interface MigrateConfig {
  /** Owns the schema. */
  ownerUrl: string;
  /** Names the service's role and its password. */
  databaseUrl: string;
  /** Without Redis, BullMQ's tables are in this database too. */
  withQueue: boolean;
  /** Whose bucket is made where it is not there. */
  s3: S3Config | undefined;
}

/** Throws option_invalid with the variable's name. */
export function readMigrateConfig(variables: NodeJS.ProcessEnv): Readonly<MigrateConfig> {
  const env = new Env(variables);
  return Object.freeze({
    ownerUrl: databaseUrl(env, 'WEFT_DATABASE_OWNER_URL'),
    databaseUrl: databaseUrl(env, 'WEFT_DATABASE_URL'),
    withQueue: env.optional('WEFT_REDIS_URL') === undefined,
    s3: readS3Config(env),
  });
}

/** The value may hold a password: no message shows it. */
function databaseUrl(env: Env, name: string): string {
  const text = env.string(name);
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['postgres:', 'postgresql:'].includes(url.protocol) || url.username === '') {
    throw new WeftError('option_invalid', `${name} must be postgres://user:password@host:port/database`, { field: name });
  }
  return text;
}

function hostAndPort(text: string): [string, number] {
  const match = /^(.+):(\d{1,5})$/.exec(text);
  if (!match || Number(match[2]) > 65_535) throw new WeftError('option_invalid', `WEFT_REGISTRY_LISTEN is ${JSON.stringify(text)}; it must be host:port`, { field: 'WEFT_REGISTRY_LISTEN' });
  return [match[1]!, Number(match[2])];
}
