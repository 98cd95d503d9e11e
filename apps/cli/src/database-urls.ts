import { WeftError } from '@weft/contracts';

/** The owner migrates; the service logs in as a role that owns nothing. */
export interface DatabaseUrls { ownerUrl: string; serviceUrl: string }

/** PostgreSQL cuts names at this length. */
const NAME_BYTES_MAX = 63;

/** The service's URL beside the owner's: same server, same database, a role of its own. Throws option_invalid. */
export function databaseUrls(ownerUrl: string, servicePassword: string): DatabaseUrls {
  const refuse = (why: string): WeftError =>
    new WeftError('option_invalid', `WEFT_DATABASE_URL ${why}; it must be postgres://owner:password@host:port/database`, { field: 'WEFT_DATABASE_URL' });
  const url = URL.canParse(ownerUrl) ? new URL(ownerUrl) : null;
  if (url === null || !/^postgres(ql)?:$/.test(url.protocol)) throw refuse('is no URL of PostgreSQL');
  const database = decodeURIComponent(url.pathname.slice(1));
  if (database === '') throw refuse('names no database');
  url.username = serviceRole(database);
  url.password = servicePassword;
  // URLs without a host take no name.
  if (url.username === '') throw refuse('names no host');
  return { ownerUrl, serviceUrl: url.href };
}

/** Roles are a whole server's, and databases beside ours may be other Wefts'. */
function serviceRole(database: string): string {
  const name = Buffer.from(`weft_service_${database}`);
  return name.subarray(0, NAME_BYTES_MAX).toString().replace(/\uFFFD$/, '');
}
