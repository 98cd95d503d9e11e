/** Which bucket artifacts are in, from WEFT_S3_… alone: variables and files of another project's AWS tools are not looked at. */
import { WeftError, type Env } from '@weft/contracts';

export interface S3Config {
  bucket: string;
  /** Before every key; empty or ending in «/». */
  prefix: string;
  /** Of a server that speaks S3; undefined for AWS itself. */
  endpoint: string | undefined;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  /** The bucket in the path instead of the host's name: what servers other than AWS usually want. */
  pathStyle: boolean;
}

const NAMES = ['ENDPOINT', 'REGION', 'PREFIX', 'ACCESS_KEY_ID', 'SECRET_ACCESS_KEY', 'PATH_STYLE'].map(name => `WEFT_S3_${name}`);

/** Undefined without WEFT_S3_BUCKET. Throws option_invalid with the variable's name. */
export function readS3Config(env: Env): Readonly<S3Config> | undefined {
  const bucket = env.optional('WEFT_S3_BUCKET');
  if (bucket === undefined) {
    const alone = NAMES.find(name => env.optional(name) !== undefined);
    if (alone !== undefined) throw new WeftError('option_invalid', `${alone} is set, but not WEFT_S3_BUCKET`, { field: 'WEFT_S3_BUCKET' });
    return undefined;
  }
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket)) throw wrong('WEFT_S3_BUCKET', bucket, 'a bucket\'s name: 3 to 63 lower-case letters, digits, «.» and «-»');
  const endpoint = env.optional('WEFT_S3_ENDPOINT');
  // No look at the rest of it: it might hold a password.
  if (endpoint !== undefined && !/^https?:\/\/[^/?#@]+\/?$/.test(endpoint)) throw new WeftError('option_invalid', 'WEFT_S3_ENDPOINT must be http://host:port or https://host, without a path or a password', { field: 'WEFT_S3_ENDPOINT' });
  const prefix = env.optional('WEFT_S3_PREFIX') ?? '';
  if (!/^([\w.-]+\/)*[\w.-]*$/.test(prefix) || prefix.length > 200) throw wrong('WEFT_S3_PREFIX', prefix, 'parts of letters, digits, «_», «.» and «-» with «/» between, at most 200');
  return Object.freeze({
    bucket, endpoint,
    prefix: prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`,
    region: env.optional('WEFT_S3_REGION') ?? 'us-east-1',
    accessKeyId: env.string('WEFT_S3_ACCESS_KEY_ID'),
    secretAccessKey: env.string('WEFT_S3_SECRET_ACCESS_KEY'),
    pathStyle: (env.oneOf('WEFT_S3_PATH_STYLE', ['on', 'off']) ?? (endpoint === undefined ? 'off' : 'on')) === 'on',
  });
}

const wrong = (field: string, value: string, rule: string): WeftError => new WeftError('option_invalid', `${field} is ${JSON.stringify(value)}; it must be ${rule}`, { field });
