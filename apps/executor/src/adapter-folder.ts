/** The adapters of a folder: one subfolder each, served under its name. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { AdapterRefused } from '@weft/adapters';
import { toWeftError, WeftError, type executorV1 } from '@weft/contracts';
import type { EngineHost } from '@weft/engine';
import { refusedCard, toCard, toFinding } from './wire.js';

/** Letters that model ids use for other things (`: @ / + *`) are not among them. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** Validates, packs and registers each. One that is refused has its findings in the card, and is never served. */
export async function addFolder(folder: string, host: Pick<EngineHost, 'addAdapter'>, log: (line: string) => void): Promise<executorV1.AdapterCard[]> {
  const cards: executorV1.AdapterCard[] = [];
  const taken = new Set<string>();
  for (const name of await subfolders(folder)) {
    const refuse = (errors: executorV1.Finding[]): void => {
      cards.push(refusedCard(name, errors));
      for (const { code, field, tensor, message } of errors) {
        log(['refused adapter ' + name + ': ' + code, field && `field ${field}`, tensor && `tensor ${tensor}`, message].filter(Boolean).join(' · '));
      }
    };
    try {
      checkName(name, taken);
      const card = toCard(name, await host.addAdapter(join(folder, name)));
      for (const warning of card.warnings) log(`adapter ${name}: ${warning.code} · ${warning.message}`);
      cards.push(card);
    } catch (thrown) {
      const error = toWeftError(thrown);
      if (error.code === 'internal_error') throw thrown;
      const { field = '', tensor = '' } = error.details;
      refuse(error instanceof AdapterRefused ? error.findings.map(toFinding) : [{ code: error.code, message: error.message, field, tensor }]);
    }
  }
  return cards;
}

function checkName(name: string, taken: Set<string>): void {
  if (!NAME.test(name)) throw new WeftError('invalid_value', `an adapter's name is letters, digits, ".", "_" and "-", at most 63, a letter or digit first; rename the folder`, { field: 'name' });
  if (taken.has(name.toLowerCase())) throw new WeftError('conflict', 'another folder has the same name but for case; rename one', { field: 'name' });
  taken.add(name.toLowerCase());
}

async function subfolders(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries.filter(entry => (entry.isDirectory() || entry.isSymbolicLink()) && !entry.name.startsWith('.')).map(entry => entry.name).sort();
  } catch (cause) {
    throw new WeftError('option_invalid', `the adapters' folder can't be read: ${(cause as Error).message}`, { field: 'adapters', cause });
  }
}
