/** Times of the API are Unix seconds, those of the registry Unix milliseconds; what is 0 there is null here. */
import { z } from 'zod';

/** Year 9999. Milliseconds of today are beyond it. */
const SECONDS_MAX = 253_402_300_799;

const TIME_RULE = 'Unix seconds, a day, or a time with its zone: 1900000000, 2030-03-17, 2030-03-17T17:46:40Z';

/** In any of these forms; milliseconds come out. */
export const time = z.union([
  z.int().min(0).max(SECONDS_MAX).transform(seconds => seconds * 1000),
  z.string().regex(/^\d{1,11}$/).transform(digits => Number(digits) * 1000),
  z.iso.datetime({ offset: true }).transform(text => Date.parse(text)),
  z.iso.date().transform(text => Date.parse(text)),
], TIME_RULE).meta({ description: TIME_RULE, anyOf: [{ type: 'integer', minimum: 0, maximum: SECONDS_MAX }, { type: 'string', format: 'date-time' }, { type: 'string', format: 'date' }] });

export const seconds = z.int().describe('Unix seconds');

export const toSeconds = (ms: bigint): number => Math.floor(Number(ms) / 1000);
export const toSecondsOrNull = (ms: bigint): number | null => (ms === 0n ? null : toSeconds(ms));
