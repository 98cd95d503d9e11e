/** Which Weft a command speaks to, and as whom. */
import { WeftError } from '@weft/contracts';
import { Option } from 'commander';
import { Api } from '../api.js';
import { readCredentials } from '../data-dir.js';
import { resolvePath, usualDataDir } from '../options.js';

export interface TargetOptions { url?: string; key?: string; tenant?: string; dataDir?: string }

export const targetOptions = (): Option[] => [
  new Option('--url <url>', 'of the Weft to speak to (default: the one of the data directory)').env('WEFT_URL'),
  new Option('--key <key>', 'to show there').env('WEFT_KEY'),
  new Option('--tenant <name>', 'the tenant to act for, with an admin\'s key'),
  new Option('--data-dir <folder>', 'whose credentials to use (default ~/.weft)').env('WEFT_DATA_DIR'),
];

/** as: whose of the data directory's two keys is used where no key is given. Throws option_invalid. */
export function apiOf({ url, key, tenant, dataDir }: TargetOptions, as: 'tenant' | 'admin', env: NodeJS.ProcessEnv): Api {
  if (url !== undefined && key === undefined) throw new WeftError('option_invalid', '--url needs the --key to show there (or WEFT_KEY)', { field: '--key' });
  if (url !== undefined) return new Api(url, key!, { tenant });
  const credentials = readCredentials(resolvePath(dataDir, env) ?? usualDataDir(env));
  return new Api(credentials.url, key ?? (as === 'admin' || tenant !== undefined ? credentials.adminKey : credentials.tenantKey), { tenant });
}
