/** The fields of an upload beside its files: what they may hold. */
import { WeftError } from '@weft/contracts';
import { checkAlias, checkName } from '../names.js';

export const UPLOAD_FIELDS = ['name', 'base', 'alias', 'description'] as const;
export type UploadFieldName = (typeof UPLOAD_FIELDS)[number];

/** A few paragraphs: it is shown in lists. */
const DESCRIPTION_CHARACTERS_MAX = 2000;

/** Throws invalid_value that names the field. Whether the base is served is asked elsewhere. */
export function checkUploadField(field: UploadFieldName, value: string): void {
  if (field === 'name') checkName(value, field);
  if (field === 'alias') checkAlias(value);
  if (field === 'description' && (value.length > DESCRIPTION_CHARACTERS_MAX || value.includes('\0'))) {
    throw new WeftError('invalid_value', `description is text of at most ${DESCRIPTION_CHARACTERS_MAX} characters`, { param: field });
  }
}
