/** One upload as a form, with progress, which only the older way of asking tells. */
import type { AdapterVersion } from '../api/schema.js';
import { ApiError, errorOf, headersOf } from '../lib/api.js';

export interface UploadFields { name: string; alias: string; description: string; tenant: string }

/** Throws ApiError, or the signal's reason. */
export function sendAdapter(fields: UploadFields, files: readonly { name: string; blob: Blob }[], idempotencyKey: string, onBytes: (sent: number) => void, signal: AbortSignal): Promise<AdapterVersion> {
  const form = new FormData();
  form.set('name', fields.name);
  if (fields.alias !== '') form.set('alias', fields.alias);
  if (fields.description !== '') form.set('description', fields.description);
  for (const { name, blob } of files) form.append('files', blob, name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', '/v1/adapters');
    for (const [name, value] of Object.entries(headersOf({ tenant: fields.tenant, headers: { 'idempotency-key': idempotencyKey } }))) request.setRequestHeader(name, value);
    request.upload.addEventListener('progress', ({ loaded }) => onBytes(loaded));
    request.addEventListener('load', () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText) as AdapterVersion);
      else reject(errorOf(request.status, request.responseText, request.getResponseHeader('x-request-id')));
    });
    request.addEventListener('error', () => reject(new ApiError(0, 'unreachable', 'The connection broke. Nothing of the upload was kept; try again.', null, null)));
    signal.addEventListener('abort', () => { request.abort(); reject(signal.reason as Error); });
    request.send(form);
  });
}
