import { Inject, Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { WeftError } from '@weft/contracts';
import pg from 'pg';
import { DataSource, QueryFailedError, type EntityManager, type QueryRunner } from 'typeorm';
import type { RegistryConfig } from './config.js';
import { REGISTRY_CONFIG } from './tokens.js';

/** A database that is away is told from one that is slow within two seconds, whether it refuses or is silent. */
const CONNECT_MS_MAX = 1500;
const QUERY_MS_MAX = 2000;
const POOL_MAX = 8;
/** For transactions whose process hangs: their locks hold up everyone. */
const IDLE_IN_TRANSACTION_MS_MAX = 10_000;

/** Of every connection of the service. */
export const CLIENT_OPTIONS = {
  connectionTimeoutMillis: CONNECT_MS_MAX, query_timeout: QUERY_MS_MAX, keepAlive: true,
  idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS_MAX, application_name: 'weft-registry',
};
export const POOL_OPTIONS = { ...CLIENT_OPTIONS, max: POOL_MAX };

const ALL_TENANTS = '*';
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
export const isUuid = (text: string): boolean => UUID.test(text);

/**
 * The only way to the tables. Row security shows a transaction one tenant's rows, and none to a query outside of both kinds
 * of transactions. Everything throws registry_lost while the database is away.
 */
@Injectable()
export class Database implements OnApplicationShutdown {
  readonly #dataSource: DataSource;
  readonly #system: pg.Pool;

  constructor(@InjectDataSource() dataSource: DataSource, @Inject(REGISTRY_CONFIG) { databaseUrl }: Pick<RegistryConfig, 'databaseUrl'>) {
    this.#dataSource = dataSource;
    this.#system = new pg.Pool({ connectionString: databaseUrl, ...POOL_OPTIONS, options: `-c weft.tenant=${ALL_TENANTS}` });
    this.#system.on('error', error => new Logger('Database').warn(`a connection was lost: ${error.message}`));
  }

  async onApplicationShutdown(): Promise<void> { await this.#system.end(); }

  /** A transaction that sees this tenant's rows, and what others share with it. Throws not_found for what can't be an id. */
  withTenant<T>(tenantId: string, work: (manager: EntityManager) => Promise<T>): Promise<T> {
    if (!isUuid(tenantId)) throw NO_TENANT;
    return this.#transaction(tenantId, work);
  }

  /** A transaction that sees every tenant's rows: for work of the system, and for what admins ask of all tenants. */
  acrossTenants<T>(work: (manager: EntityManager) => Promise<T>): Promise<T> {
    return this.#transaction(ALL_TENANTS, work);
  }

  /** One tenant's rows, or with an empty id every tenant's. */
  inScope<T>(tenantId: string, work: (manager: EntityManager) => Promise<T>): Promise<T> {
    return tenantId === '' ? this.acrossTenants(work) : this.withTenant(tenantId, work);
  }

  /** One statement across tenants, without TypeORM and without a transaction's round trips. Named statements are prepared once a connection. */
  async query<Row extends pg.QueryResultRow>(query: { name?: string; text: string; values?: unknown[]; timeoutMs?: number }): Promise<Row[]> {
    const { timeoutMs = QUERY_MS_MAX, ...rest } = query;
    try {
      return (await this.#system.query<Row>({ ...rest, query_timeout: timeoutMs } as pg.QueryConfig)).rows;
    } catch (error) {
      throw lostOr(error);
    }
  }

  /**
   * Statements that see one tenant's rows, as in `withTenant`, in one round trip and without TypeORM. Resolves to the rows
   * of each. Throws not_found.
   * @param statements of the tenant's id, quoted
   */
  async readAs(tenantId: string, statements: (id: string) => string[]): Promise<unknown[][]> {
    if (!isUuid(tenantId)) throw NO_TENANT;
    const id = `'${tenantId}'`;
    const text = ['begin read only', `set local weft.tenant = ${id}`, ...statements(id), 'commit'].join(';\n');
    try {
      // The pool replaces a connection whose query failed.
      const results = await this.#system.query(text) as unknown as pg.QueryResult[];
      return results.slice(2, -1).map(({ rows }) => rows);
    } catch (error) {
      throw lostOr(error);
    }
  }

  async #transaction<T>(tenant: string, work: (manager: EntityManager) => Promise<T>): Promise<T> {
    const runner = this.#dataSource.createQueryRunner();
    try {
      await runner.startTransaction();
      await runner.query(`select set_config('weft.tenant', $1, true)`, [tenant]);
      const result = await work(runner.manager);
      await runner.commitTransaction();
      return result;
    } catch (thrown) {
      const error = lostOr(thrown);
      // A connection that hangs would keep the rollback waiting too.
      const rolledBack = !isLost(error) && await runner.rollbackTransaction().then(() => true, () => false);
      if (!rolledBack) await discard(runner);
      throw error;
    } finally {
      await runner.release();
    }
  }
}

const NO_TENANT = new WeftError('not_found', 'there is no such tenant');

/** Ends a connection in an unknown state; the pool makes another. */
async function discard(runner: QueryRunner): Promise<void> {
  const client = await runner.connect().catch(() => undefined) as pg.Client | undefined;
  client?.end().catch(() => undefined);
}

/** SQLSTATEs of a server that stops, starts or has no room; errors of sockets; and what pg says without a code. */
const LOST_CODE = /^(08...|57P0.|53300|E[A-Z]{4,})$/;
const LOST_MESSAGE = /^(Connection terminated|timeout exceeded when trying to connect|Query read timeout|Client has encountered a connection error|Client was closed)/;
/** What TypeORM says of a connection that broke between two queries. */
const RELEASED = 'QueryRunnerAlreadyReleasedError';

/** The error of a query, as registry_lost where the database is away. */
export function lostOr(thrown: unknown): unknown {
  const error = thrown instanceof QueryFailedError ? thrown.driverError as Error : thrown;
  if (!(error instanceof Error) || error instanceof WeftError) return error;
  const code = (error as { code?: string }).code ?? '';
  if (!LOST_CODE.test(code) && !LOST_MESSAGE.test(error.message) && error.name !== RELEASED) return error;
  return new WeftError('registry_lost', 'the registry does not reach its database at the moment; try again', { retryAfterMs: 1000, cause: error });
}

const isLost = (error: unknown): boolean => error instanceof WeftError && error.code === 'registry_lost';

const UNIQUE_VIOLATION = '23505';
/** Somebody was faster. */
export const isDuplicate = (error: unknown): boolean => (error as { code?: string }).code === UNIQUE_VIOLATION;
