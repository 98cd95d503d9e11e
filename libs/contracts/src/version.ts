import { createRequire } from 'node:module';

/** The release that this build belongs to; all workspaces share it. */
export const VERSION: string = (createRequire(import.meta.url)('../package.json') as { version: string }).version;
