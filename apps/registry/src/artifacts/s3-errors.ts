import { S3ServiceException } from '@aws-sdk/client-s3';
import { WeftError } from '@weft/contracts';

const FULL = new Set(['QuotaExceeded', 'InsufficientStorage', 'XMinioStorageFull', 'EntityTooLarge']);

export async function told<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw storeError(error);
  }
}

/** Of the bucket, or of the disk that files are laid out on: registry_lost for what a later try may not meet. */
export function storeError(error: unknown): WeftError {
  if (error instanceof WeftError) return error;
  const { name, message, code } = error as NodeJS.ErrnoException;
  if (error instanceof S3ServiceException) {
    const status = error.$metadata.httpStatusCode ?? 0;
    if (FULL.has(name) || status === 507) return new WeftError('insufficient_storage', 'the artifact store is full; make room and upload again', { cause: error });
    if (['NoSuchKey', 'NotFound', 'NoSuchBucket'].includes(name)) return new WeftError('not_found', 'there is no such artifact', { cause: error });
    if (status < 500 && status !== 429) return new WeftError('io_error', `the artifact store refused with ${name}: ${message}`, { cause: error });
  } else if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new WeftError('insufficient_storage', 'the disk for files that are being checked is full; make room and upload again', { cause: error });
  } else if (code !== undefined && /^E(ACCES|PERM|ROFS|NOENT|EXIST|ISDIR|NOTDIR|MFILE)$/.test(code)) {
    return new WeftError('io_error', `files can't be laid out: ${code}`, { cause: error });
  }
  return new WeftError('registry_lost', `the artifact store does not answer: ${code ?? name}; try again`, { retryAfterMs: 1000, cause: error });
}
