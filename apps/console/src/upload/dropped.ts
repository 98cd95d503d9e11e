/** What a person dropped or chose, as folders of adapters. */
import { isArchive, readArchive, type NamedBlob } from './archive.js';

export interface AdapterFolder { name: string; files: { name: string; blob: Blob; left: boolean }[] }

const CONFIG = 'adapter_config.json';
/** What trainers leave beside an adapter: nothing reads it. */
const LEFTOVERS = /^(optimizer|scheduler|scaler|rng_state|training_args|trainer_state|README|\.)/i;

/** Folders, archives and files of one drop. Call it in the event: the list is empty afterwards. */
export async function readDrop({ items }: DataTransfer): Promise<AdapterFolder[]> {
  const entries = [...items].map(item => item.webkitGetAsEntry()).filter(entry => entry !== null);
  const found = (await Promise.all(entries.map(walk))).flat();
  return adaptersAmong(await foldersOf(found));
}

/** Of an input of files, or of a folder. */
export const readChosen = async (files: readonly File[]): Promise<AdapterFolder[]> => adaptersAmong(await foldersOf(files.map(file => ({ path: file.webkitRelativePath || file.name, blob: file }))));

async function walk(entry: FileSystemEntry): Promise<NamedBlob[]> {
  if (entry.isFile) return [{ path: entry.fullPath.slice(1), blob: await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject)) }];
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const children: FileSystemEntry[] = [];
  // A reader tells a hundred at a time, and an empty list at the end.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) break;
    children.push(...some);
  }
  return (await Promise.all(children.map(walk))).flat();
}

async function foldersOf(found: readonly NamedBlob[]): Promise<AdapterFolder[]> {
  const folders = new Map<string, NamedBlob[]>();
  for (const { path, blob } of found) {
    const archive = isArchive(path);
    const inside = archive ? (await readArchive(path, blob)).map(file => ({ path: `${stem(path)}/${file.path.replace(/^\.\//, '')}`, blob: file.blob })) : [{ path, blob }];
    for (const file of inside) {
      const folder = file.path.split('/').slice(0, -1).join('/');
      folders.set(folder, [...folders.get(folder) ?? [], file]);
    }
  }
  return [...folders].map(([path, files]) => ({
    name: nameOf(path),
    files: files.map(({ path: file, blob }) => {
      const name = file.split('/').pop()!;
      return { name, blob, left: LEFTOVERS.test(name) };
    }),
  }));
}

/** Of a tree only the folders with an adapter are taken, if there is any. */
function adaptersAmong(folders: AdapterFolder[]): AdapterFolder[] {
  const adapters = folders.filter(({ files }) => files.some(({ name }) => name === CONFIG));
  return (adapters.length > 0 ? adapters : folders.slice(0, 1)).map(folder => ({ ...folder, files: folder.files.toSorted((a, b) => (a.name < b.name ? -1 : 1)) }));
}

const stem = (path: string): string => path.split('/').pop()!.replace(/\.(zip|tar|tar\.gz|tgz)$/i, '');
/** Of the folder, as an adapter may be called. */
const nameOf = (path: string): string => (path.split('/').filter(part => part !== '' && part !== '.').pop() ?? 'adapter').replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[^A-Za-z0-9]+/, '').slice(0, 63) || 'adapter';
