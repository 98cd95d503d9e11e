/** Rewrites the references that are made from the routes' schemas and the error table: `npm run generate`. */
import { writeFileSync } from 'node:fs';
import { apiReference, errorReference } from './src/docs/reference.js';

writeFileSync(new URL('../../docs/api.md', import.meta.url), apiReference());
writeFileSync(new URL('../../docs/errors.md', import.meta.url), errorReference());
