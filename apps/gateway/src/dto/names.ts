import { z } from 'zod';

/** Of adapters and tenants: unique without regard to case. */
export const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'From 1 to 63 letters, digits, «.», «_» and «-», the first a letter or digit');
