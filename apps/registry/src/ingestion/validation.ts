/** The registry's own check of an upload: everything that needs the base's geometry and tokenizer, but not its weights. */
import { AdapterRefused, kindOf, readAdapterFolder, type BaseGeometry, type Manifest } from '@weft/adapters';
import { toWeftError, WeftError } from '@weft/contracts';
import { checkAdapterText, TemplateThread } from '@weft/tokenizer';
import type { ArtifactStore } from '../artifacts/artifact-store.js';
import type { Version } from '../entities/index.js';
import { toFiles, type BaseDescription } from './ingestion.repository.js';

/** Throws AdapterRefused with all findings, or a WeftError that may not come again. Messages name the upload's files, no path. */
export async function validateUpload({ digest, files }: Pick<Version, 'digest' | 'files'>, { geometry, text }: BaseDescription, store: ArtifactStore): Promise<Manifest> {
  const folder = await store.layOut(toFiles(files));
  try {
    const content = await readAdapterFolder(folder.path, text);
    if (content.digest !== digest) throw new WeftError('io_error', `what is stored of adapter ${digest} is not what was uploaded`);
    const manifest = await kindOf(content).validate(content, geometry);
    if (content.text.length > 0) await checkText(folder.path, content.text, geometry, manifest);
    return manifest;
  } catch (thrown) {
    throw withoutPath(toWeftError(thrown), folder.path);
  } finally {
    await folder.remove();
  }
}

/** A tenant's template is parsed where it can hold up nobody. Started by the first, and no reason to stay up. */
const templates = new TemplateThread();

/** Throws AdapterRefused for a tokenizer or template that can't serve. */
async function checkText(path: string, names: readonly string[], { ends }: BaseGeometry, manifest: Manifest): Promise<void> {
  try {
    const vocab = (manifest.kind === 'lora' ? manifest.vocab : null) ?? ends.vocab;
    await checkAdapterText(path, vocab, !names.includes('tokenizer.json'), templates);
  } catch (thrown) {
    const { code, message, details } = toWeftError(thrown);
    if (code !== 'tokenizer_invalid') throw thrown;
    throw new AdapterRefused([{ code, message, ...(details.file !== undefined && { file: details.file }), ...(details.field !== undefined && { field: details.field }) }]);
  }
}

function withoutPath(error: WeftError, path: string): WeftError {
  const clean = (message: string): string => message.replaceAll(`${path}/`, '').replaceAll(path, 'the upload');
  if (error instanceof AdapterRefused) {
    const [first, ...rest] = error.findings.map(finding => ({ ...finding, message: clean(finding.message) }));
    return new AdapterRefused([first!, ...rest]);
  }
  return new WeftError(error.code, clean(error.message), { ...error.details, cause: error });
}
