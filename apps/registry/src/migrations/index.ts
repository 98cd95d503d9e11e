import { Tables1795564800000 } from './1795564800000-tables.js';

/** In the order in which they are applied. One that was released is never changed. */
export const MIGRATIONS = [Tables1795564800000];
