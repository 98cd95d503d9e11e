/** Servers that a person works with, by name: a file in the configuration folder, for its owner's eyes. */
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { WeftError } from '@weft/contracts';
import { homeOf } from './options.js';

export interface Profile { url: string; key: string; adminKey?: string | undefined; tenant?: string | undefined }

interface File { current: string | null; profiles: Record<string, Profile> }

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

export class Profiles {
  private constructor(readonly path: string, private readonly file: File) {}

  /** Those of this user; none where there is no file. Throws option_invalid for a file that is none of ours. */
  static read(env: NodeJS.ProcessEnv): Profiles {
    const path = join(env.XDG_CONFIG_HOME || join(homeOf(env), '.config'), 'weft', 'profiles.json');
    if (!existsSync(path)) return new Profiles(path, { current: null, profiles: {} });
    try {
      const file = JSON.parse(readFileSync(path, 'utf8')) as File;
      const sound = typeof file.profiles === 'object' && Object.values(file.profiles).every(({ url, key }) => typeof url === 'string' && typeof key === 'string');
      if (!sound) throw new Error('it holds no profiles');
      return new Profiles(path, file);
    } catch (cause) {
      throw new WeftError('option_invalid', `${path} can't be read: ${(cause as Error).message}. Mend it, or remove it`, { field: 'profile', cause });
    }
  }

  get current(): string | null { return this.file.current; }
  get all(): readonly (readonly [string, Profile])[] { return Object.entries(this.file.profiles); }

  /** Throws option_invalid with the names that there are. */
  get(name: string): Profile {
    if (!Object.hasOwn(this.file.profiles, name)) {
      const names = Object.keys(this.file.profiles).join(', ');
      throw new WeftError('option_invalid', `there is no profile ${JSON.stringify(name)}; ${names === '' ? 'make one with «weft profile add»' : `there is ${names}`}`, { field: 'profile' });
    }
    return this.file.profiles[name]!;
  }

  /** Adds or replaces one. The first one is used from then on. */
  add(name: string, profile: Profile): void {
    if (!NAME.test(name)) throw new WeftError('option_invalid', `${JSON.stringify(name)} is no name for a profile: letters, digits, «.», «_» and «-», at most 63`, { field: 'name' });
    this.file.profiles[name] = profile;
    this.file.current ??= name;
    this.#write();
  }

  use(name: string | null): void {
    if (name !== null) this.get(name);
    this.file.current = name;
    this.#write();
  }

  remove(name: string): void {
    this.get(name);
    delete this.file.profiles[name];
    if (this.file.current === name) this.file.current = null;
    this.#write();
  }

  #write(): void {
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
    const own = `${this.path}.${process.pid}`;
    writeFileSync(own, `${JSON.stringify(this.file, null, 2)}\n`, { mode: 0o600 });
    chmodSync(own, 0o600);
    renameSync(own, this.path);
  }
}
