import { WeftError } from '@weft/contracts';

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const ALIAS = /^[a-z][a-z0-9._-]{0,31}$/;

/** The alias that is computed, never set: the newest ready version. */
export const LATEST = 'latest';

/** Of an adapter or a tenant. Throws invalid_value. */
export function checkName(name: string, param: string): void {
  if (!NAME.test(name)) throw new WeftError('invalid_value', `${param} is ${JSON.stringify(name)}; it must be 1 to 63 letters, digits, dots, dashes and underscores, a letter or digit first`, { param });
}

/** Throws invalid_value. */
export function checkAlias(alias: string): void {
  if (alias === LATEST) throw new WeftError('invalid_value', `${LATEST} is always the newest ready version; choose another alias`, { param: 'alias' });
  if (!ALIAS.test(alias)) throw new WeftError('invalid_value', `alias is ${JSON.stringify(alias)}; it must be 1 to 32 small letters, digits, dots, dashes and underscores, a letter first`, { param: 'alias' });
}
