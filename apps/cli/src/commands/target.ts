/** Which Weft a command speaks to, and as whom. */
import { WeftError } from '@weft/contracts';
import { Option } from 'commander';
import { Api } from '../api.js';
import { readCredentials } from '../data-dir.js';
import { resolvePath, usualDataDir } from '../options.js';
import { Profiles } from '../profiles.js';

export interface TargetOptions { url?: string; key?: string; tenant?: string; profile?: string; dataDir?: string }

export const dataDirOption = (): Option => new Option('--data-dir <folder>', 'of the Weft on this machine (default ~/.weft)').env('WEFT_DATA_DIR');

export const targetOptions = (): Option[] => [
  new Option('--url <url>', 'of the Weft to speak to (default: the profile in use, or the one of the data directory)').env('WEFT_URL'),
  new Option('--key <key>', 'to show there').env('WEFT_KEY'),
  new Option('--tenant <name>', 'the tenant to act for, with an admin\'s key').env('WEFT_TENANT'),
  new Option('--profile <name>', 'a server that «weft profile add» knows').env('WEFT_PROFILE'),
  dataDirOption(),
];

/**
 * The url, else the profile, else the data directory that is named; else the profile in use, else the usual data directory.
 * as: whose of two keys is used where no key is given. Throws option_invalid.
 */
export function apiOf({ url, key, tenant, profile: name, dataDir }: TargetOptions, as: 'tenant' | 'admin', env: NodeJS.ProcessEnv): Api {
  if (url !== undefined) {
    if (key === undefined) throw new WeftError('option_invalid', '--url needs the --key to show there (or WEFT_KEY)', { field: '--key' });
    return new Api(url, key, { tenant });
  }
  const profiles = Profiles.read(env);
  const used = name ?? (dataDir === undefined ? profiles.current : null);
  if (used !== null) {
    const profile = profiles.get(used);
    return new Api(profile.url, key ?? (as === 'admin' ? profile.adminKey ?? profile.key : profile.key), { tenant: tenant ?? profile.tenant });
  }
  const credentials = readCredentials(dataDirOf(dataDir, env));
  return new Api(credentials.url, key ?? (as === 'admin' || tenant !== undefined ? credentials.adminKey : credentials.tenantKey), { tenant });
}

export const dataDirOf = (dataDir: string | undefined, env: NodeJS.ProcessEnv): string => resolvePath(dataDir, env) ?? usualDataDir(env);
