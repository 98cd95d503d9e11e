/** What every message about the embedded database ends with. */
export const INSTEAD = 'Set WEFT_DATABASE_URL=postgres://owner:password@host:port/database to use a PostgreSQL of your own';
