/** Adapter folders: what counts, what is a trainer's leftover, what is refused unread, and the digest that names the rest. */
import { createHash } from 'node:crypto';
import { open, readdir, realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { WeftError, type ErrorCode } from '@weft/contracts';
import { isTextFile, ownText, type BaseText } from './base-text.js';
import { AdapterRefused, Findings } from './refused.js';
import type { AdapterFile, AdapterFolder } from './types.js';

/** An ESFT adapter may be cut into some dozen files; a trainer's folder has about twenty. */
export const ADAPTER_FILES_MAX = 256;
/** Rank 256 on every linear layer of a 70B model in f32 is 13 GB. */
export const ADAPTER_BYTES_MAX = 16 * 2 ** 30;

/** What trainers leave beside an adapter: it says how training went, not what the adapter does. */
const LEFTOVERS = [
  /^\./,                                                   // .gitattributes, .cache, .DS_Store
  /\.md$/i, /^(readme|license|notice)/i, /\.(png|jpe?g|log|jsonl|out)$/i, /^events\.out\./,
  /^(training_args|optimizer|scheduler|scaler)\.(bin|pt|pth)$/, /^rng_state.*\.(pth|pt)$/,
  /^(trainer_state|trainer_log|training_loss|all_results|train_results|eval_results)\.json$/,
  /^(latest|zero_to_fp32\.py)$/,
];
/** Twice the largest published tokenizer.json. */
const TEXT_BYTES_MAX = 64 * 2 ** 20;
/** Formats that run code when they are read. */
const PICKLED = /\.(bin|pt|pth|ckpt|pkl|pickle)$/i;

/** What a file is by its name alone. The digest covers those that are counted: what is text changes prompts, not what is computed of them. */
export type FileClass = 'ignored' | 'pickled' | 'text' | 'counted';

export function classifyFile(name: string): FileClass {
  if (LEFTOVERS.some(pattern => pattern.test(name))) return 'ignored';
  if (PICKLED.test(name)) return 'pickled';
  return isTextFile(name) ? 'text' : 'counted';
}

/** Why a pickled file is refused unread (`adapter_file_unsupported`). */
export const pickledMessage = (name: string): string =>
  `${name}: pickled weights are not read, they can run code. Save as safetensors (PEFT: save_pretrained(…, safe_serialization=True)) and leave this file out`;

/**
 * Lists and hashes a flat adapter folder. Reads every file that counts once, piece by piece.
 *
 * The digest covers exactly the files that count: an adapter keeps its identity whether or not a README or a tokenizer lies
 * beside it. Throws AdapterRefused; every message names the file.
 * baseText: what the base tokenizes with; without it a tokenizer in the folder is not compared.
 */
export async function readAdapterFolder(folder: string, baseText?: BaseText): Promise<AdapterFolder> {
  const names = await list(folder);
  const findings = new Findings();
  const root = await realpath(folder);
  const ignored: string[] = [];
  const texts: string[] = [];
  const counted: { name: string; path: string; size: number }[] = [];
  for (const name of names) {
    const kind = classifyFile(name);
    if (kind === 'ignored') { ignored.push(name); continue; }
    const size = await regularFile(root, name, findings);
    if (size === null) continue;
    if (kind === 'pickled') {
      findings.refuse('adapter_file_unsupported', pickledMessage(name), { file: name });
    } else if (kind === 'text') {
      if (size > TEXT_BYTES_MAX) findings.refuse('adapter_too_large', `${name} has ${size} bytes; at most ${TEXT_BYTES_MAX} are read of a tokenizer's files`, { file: name });
      texts.push(name);
    } else {
      counted.push({ name, path: join(root, name), size });
    }
  }
  const total = counted.reduce((sum, file) => sum + file.size, 0);
  if (total > ADAPTER_BYTES_MAX) findings.refuse('adapter_too_large', `the folder's files have ${total} bytes; the limit is ${ADAPTER_BYTES_MAX}`);
  findings.throwIfAny();
  const text = baseText ? await ownText(root, texts, baseText, findings) : [];
  findings.throwIfAny();
  ignored.push(...texts.filter(name => !text.includes(name)));

  const files = new Map<string, AdapterFile>();
  for (const file of counted) files.set(file.name, { ...file, sha256: await sha256Of(file.path) });
  return { path: root, files, text, ignored: ignored.sort(), digest: digestOf(files.values()) };
}

/** sha256 of the canonical JSON `[[path, size, sha256], …]`, sorted by path: the name of an adapter's content. */
export function digestOf(files: Iterable<Pick<AdapterFile, 'name' | 'size' | 'sha256'>>): string {
  const rows = [...files].map(({ name, size, sha256 }) => [name, size, sha256] as const);
  rows.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return createHash('sha256').update(JSON.stringify(rows)).digest('hex');
}

async function list(folder: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    throw new AdapterRefused([{ code: 'adapter_file_missing', file: folder, message: missing ? `${folder} does not exist` : `${folder} can't be read as a folder: ${(cause as Error).message}` }]);
  }
  if (names.length > ADAPTER_FILES_MAX) {
    throw new AdapterRefused([{ code: 'adapter_too_large', file: folder, message: `${folder} has ${names.length} entries; the limit is ${ADAPTER_FILES_MAX}` }]);
  }
  return names.sort();
}

/** The size of a regular file inside the folder; anything else is a finding and null. */
async function regularFile(root: string, name: string, findings: Findings): Promise<number | null> {
  const refuse = (code: ErrorCode, why: string): null => {
    findings.refuse(code, `${name} ${why}`, { file: name });
    return null;
  };
  try {
    const target = await realpath(join(root, name));
    if (!target.startsWith(root + sep)) return refuse('adapter_file_unsupported', 'is a link that leaves the folder. Copy the file itself');
    const found = await stat(target);
    if (found.isDirectory()) return refuse('adapter_file_unsupported', 'is a directory; an adapter is a flat folder. Leave it out');
    if (!found.isFile()) return refuse('adapter_file_unsupported', 'is not a regular file');
    return found.size;
  } catch (cause) {
    return refuse('io_error', `can't be read: ${(cause as Error).message}`);
  }
}

/** Through one buffer: a stream takes another for each chunk, and what the collector has not come by to yet is resident. */
async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256'), buffer = new Uint8Array(1 << 18);
  try {
    const file = await open(path);
    try {
      for (let read = -1; read !== 0;) {
        ({ bytesRead: read } = await file.read(buffer, 0, buffer.length));
        hash.update(buffer.subarray(0, read));
      }
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new WeftError('io_error', `${path} can't be read: ${(cause as Error).message}`, { file: path, cause });
  }
  return hash.digest('hex');
}
