/** Where ingestion's jobs wait: in Redis, or in BullMQ's own schema of the same database. Job data is a version's id, never a secret. */
import { createHash } from 'node:crypto';
import { BullModule } from '@nestjs/bullmq';
import type { DynamicModule } from '@nestjs/common';
import { createPostgresBackend, setDefaultBackendFactory, type BackendFactory, type JobsOptions, type QueueOptions, type WorkerOptions } from 'bullmq';
import pg from 'pg';
import type { RegistryConfig } from '../config.js';
import { lostOr, POOL_OPTIONS } from '../database.js';
import { QUEUE_SCHEMA } from '../migrations/migrate.js';

export const INGESTION = 'ingestion';

/** Of the queue, and of its worker; a connection that listens comes on top of each. */
const QUEUE_CONNECTIONS_MAX = 2;
/** Redis is back long before anybody would look. */
const REDIS_RETRY_MS_MAX = 1000;

/** What is tried again after a failure that may not happen again. An adapter that ends executors must not end them for ever. */
const ATTEMPTS_MAX = 3;
const BACKOFF_MS = 1000;
/** Failed jobs are kept until their version says so too. */
export const JOB_OPTIONS: JobsOptions = { attempts: ATTEMPTS_MAX, backoff: { type: 'exponential', delay: BACKOFF_MS }, removeOnComplete: true, stackTraceLimit: 1 };

/** A job whose registry died is taken up again when its lock has expired and two checks have seen it without: 5 + 2 · 3 s later at most. */
export const WORKER_OPTIONS: Omit<WorkerOptions, 'connection'> = {
  concurrency: 16, lockDuration: 5000, stalledInterval: 3000, maxStalledCount: ATTEMPTS_MAX, runRetryDelay: 1000,
};

/** BullMQ's module for Nest, on the backend that the configuration names. */
export function queueModule(config: Pick<RegistryConfig, 'databaseUrl' | 'redisUrl'>): DynamicModule {
  return BullModule.registerQueueAsync({ name: INGESTION, useFactory: () => queueOptions(config) });
}

async function queueOptions({ databaseUrl, redisUrl }: Pick<RegistryConfig, 'databaseUrl' | 'redisUrl'>): Promise<QueueOptions> {
  // Nest makes its queues and workers without naming a backend: they take the process's default.
  setDefaultBackendFactory(redisUrl === undefined ? createPostgresBackend as BackendFactory : undefined);
  if (redisUrl === undefined) {
    return { connection: { ...POOL_OPTIONS, connectionString: databaseUrl, schema: QUEUE_SCHEMA, max: QUEUE_CONNECTIONS_MAX, application_name: undefined } };
  }
  return {
    prefix: await queuePrefix(databaseUrl),
    connection: { url: redisUrl, maxRetriesPerRequest: null, retryStrategy: attempt => Math.min(100 * attempt, REDIS_RETRY_MS_MAX) },
  };
}

/** Registries of different databases must not meet in one Redis: a job would be taken where its version is unknown. */
export async function queuePrefix(connectionString: string): Promise<string> {
  const client = new pg.Client({ connectionString, ...POOL_OPTIONS });
  try {
    await client.connect();
    const { rows: [row] } = await client.query<{ id: string }>(`select format('%s/%s', system_identifier, oid) as id from pg_control_system(), pg_database where datname = current_database()`);
    return `{weft-${createHash('sha256').update(row!.id).digest('hex').slice(0, 16)}}`;
  } catch (error) {
    throw lostOr(error);
  } finally {
    await client.end().catch(() => undefined);   // it may never have connected
  }
}
