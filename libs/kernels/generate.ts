/** Rewrites what is generated from the op table: `npm run generate`. */
import { writeFileSync } from 'node:fs';
import { opsHeader } from './src/ops-header.js';

writeFileSync(new URL('native/core/ops.gen.h', import.meta.url), opsHeader());
