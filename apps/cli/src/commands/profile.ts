/** `weft profile`: servers by name. */
import type { Profile, Profiles } from '../profiles.js';
import { table } from '../table.js';
import { Api } from '../api.js';
import type { Outcome } from './outcome.js';

/** Keys are shown by their ends only. */
const hint = (key: string | undefined): string => (key === undefined ? '' : `${key.slice(0, 6)}…${key.slice(-2)}`);

export function listProfiles(profiles: Profiles): Outcome {
  const rows = profiles.all.map(([name, { url, key, adminKey, tenant }]) => [name === profiles.current ? '*' : '', name, url, hint(key), hint(adminKey), tenant ?? '']);
  return {
    json: { current: profiles.current, profiles: profiles.all.map(([name, { url, tenant }]) => ({ name, url, tenant: tenant ?? null })) },
    text: table(['', 'profile', 'url', 'key', 'admin key', 'tenant'], rows),
  };
}

/** Throws option_invalid for a url that is none. */
export function addProfile(profiles: Profiles, name: string, profile: Profile): Outcome {
  new Api(profile.url, profile.key);
  profiles.add(name, profile);
  return { json: { name, current: profiles.current }, text: `${name} is in ${profiles.path}${profiles.current === name ? '; commands speak to it' : `; «weft profile use ${name}» makes commands speak to it`}` };
}

export function useProfile(profiles: Profiles, name: string | null): Outcome {
  profiles.use(name);
  return { json: { current: name }, text: name === null ? 'commands speak to the Weft of the data directory' : `commands speak to ${name}: ${profiles.get(name).url}` };
}

export function removeProfile(profiles: Profiles, name: string): Outcome {
  profiles.remove(name);
  return { json: { deleted: true, current: profiles.current }, text: `${name} is no more${profiles.current === null ? '; commands speak to the Weft of the data directory' : ''}` };
}
