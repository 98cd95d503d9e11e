import { DefaultNamingStrategy, type DataSourceOptions } from 'typeorm';
import { ENTITIES } from './entities/index.js';
import { MIGRATIONS } from './migrations/index.js';

export const SCHEMA = 'weft';
export const MIGRATIONS_TABLE = 'migrations';

/** tenantId ↔ tenant_id */
class SnakeCase extends DefaultNamingStrategy {
  override columnName(property: string, custom: string | undefined): string {
    return custom ?? property.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`);
  }
}

/** @param extra of the pg pool. */
export function dataSourceOptions(url: string, extra: object = {}): DataSourceOptions {
  return {
    type: 'postgres', url, schema: SCHEMA, extra,
    entities: ENTITIES, namingStrategy: new SnakeCase(),
    migrations: MIGRATIONS, migrationsTableName: MIGRATIONS_TABLE, migrationsTransactionMode: 'each',
    uuidExtension: 'pgcrypto', installExtensions: false,   // gen_random_uuid() needs no extension
  };
}
