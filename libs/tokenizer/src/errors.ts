import { WeftError } from '@weft/contracts';

/** A file of the tokenizer that cannot be used: names the file, the field in it, and what to do. */
export function tokenizerInvalid(file: string, field: string | undefined, message: string, cause?: unknown): WeftError {
  const where = field === undefined ? file : `${file}: "${field}"`;
  return new WeftError('tokenizer_invalid', `${where} ${message}`, { file, field, cause });
}
