/** The adapters of a folder: one subfolder each, served under its name. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { AdapterRefused } from '@weft/adapters';
import { toWeftError, WeftError, type executorV1 } from '@weft/contracts';
import type { EngineHost } from '@weft/engine';
import { refusedCard, toCard, toFinding } from './wire.js';

/** Letters that model ids use for other things (`: @ / + *`) are not among them. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
/** An adapter of another base has a finding for every tensor. */
const FINDINGS_TOLD_MAX = 3;

/** Validates, packs and registers each. One that is refused has its findings in the card, and is never served: so one with the base's name. */
export async function addFolder(folder: string, host: Pick<EngineHost, 'addAdapter'>, base: string | undefined, log: (line: string) => void): Promise<executorV1.AdapterCard[]> {
  const cards: executorV1.AdapterCard[] = [];
  const taken = new Map(base === undefined ? [] : [[base.toLowerCase(), 'the base model']]);
  for (const name of await subfolders(folder)) {
    const refuse = (errors: executorV1.Finding[]): void => {
      cards.push(refusedCard(name, errors));
      for (const { code, field, tensor, message } of errors.slice(0, FINDINGS_TOLD_MAX)) {
        log([`refused adapter ${name}: ${code}`, field && `field ${field}`, tensor && !message.includes(tensor) && `tensor ${tensor}`, message].filter(Boolean).join(' · '));
      }
      if (errors.length > FINDINGS_TOLD_MAX) log(`refused adapter ${name}: and ${errors.length - FINDINGS_TOLD_MAX} more`);
    };
    try {
      checkName(name, taken);
      const card = toCard(name, await host.addAdapter(join(folder, name)));
      for (const warning of card.warnings) log(`adapter ${name}: warning ${warning.code} · ${warning.message}`);
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

function checkName(name: string, taken: Map<string, string>): void {
  if (!NAME.test(name)) throw new WeftError('invalid_value', `an adapter's name is letters, digits, ".", "_" and "-", at most 63, a letter or digit first; rename the folder`, { field: 'name' });
  const holder = taken.get(name.toLowerCase());
  if (holder !== undefined) throw new WeftError('conflict', `${holder} has this name; rename the folder`, { field: 'name' });
  taken.set(name.toLowerCase(), `another folder, ${name},`);
}

async function subfolders(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries.filter(entry => (entry.isDirectory() || entry.isSymbolicLink()) && !entry.name.startsWith('.')).map(entry => entry.name).sort();
  } catch (cause) {
    throw new WeftError('option_invalid', `the adapters' folder can't be read: ${(cause as Error).message}`, { field: 'adapters', cause });
  }
}
