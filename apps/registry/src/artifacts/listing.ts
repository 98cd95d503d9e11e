import { classifyFile } from '@weft/adapters';
import type { registryV1 } from '@weft/contracts';
import type { Version } from '../entities/index.js';

/** What an executor fetches: the files that the digest covers. A copy of the base's tokenizer is compared here, and not sent. */
export function toArtifact({ digest, files }: Pick<Version, 'digest' | 'files'>): registryV1.Artifact {
  const counted = files.filter(([name]) => classifyFile(name) === 'counted');
  return { digest, files: counted.map(([name, size, sha256]) => ({ name, size: BigInt(size), sha256 })) };
}
