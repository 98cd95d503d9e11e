/**
 * Whole experts in the place of the base's (ESFT, deepseek-ai/ESFT): expert_cfg.json and any number of *.safetensors.
 * What an adapter leaves alone stays the base's: only replaced experts are stored, and multiplied, apart.
 */
import { EXPERTS_FILE, readEsftConfig } from './esft-config.js';
import { packEsft } from './esft-pack.js';
import { claimExperts } from './esft-tensors.js';
import { scanExperts } from './esft-values.js';
import { asRefusal, Findings } from './refused.js';
import { ADAPTER_LIMITS, openSafetensors, type Safetensors } from './safetensors.js';
import type { AdapterFolder, AdapterKind, BaseGeometry, EsftManifest } from './types.js';

export const esft: AdapterKind<EsftManifest> = {
  name: 'esft',
  recognises: files => files.has(EXPERTS_FILE),
  validate,
  pack: packEsft,
};

const isWeights = (name: string): boolean => name.endsWith('.safetensors');

/** Files, config, tensors, values: each stage tells all that it finds, and the next begins only if it found nothing wrong. */
async function validate({ files, digest, path, ignored }: AdapterFolder, base: BaseGeometry): Promise<EsftManifest> {
  const findings = new Findings();
  const { experts: geometry } = base;
  if (!geometry) findings.refuse('adapter_kind_unsupported', `${EXPERTS_FILE}: experts are replaced on bases that have some; this ${base.architecture} is dense`, { file: EXPERTS_FILE });
  for (const name of files.keys()) {
    if (name !== EXPERTS_FILE && !isWeights(name)) {
      findings.refuse('adapter_file_unsupported', `${name} is no file of an ESFT adapter, which is ${EXPERTS_FILE} and *.safetensors. Leave it out`, { file: name });
    }
  }
  const weights = [...files.values()].filter(({ name }) => isWeights(name));
  if (weights.length === 0) findings.refuse('adapter_file_missing', `no *.safetensors lies beside ${EXPERTS_FILE}`, { file: '*.safetensors' });
  findings.throwIfAny();

  const moe = { ...base, experts: geometry! };
  const config = await readEsftConfig(files.get(EXPERTS_FILE)!, moe, findings);
  findings.throwIfAny();
  const tensors = [];
  for (const file of weights) tensors.push((await openWeights(file.path)).tensors);
  const claimed = claimExperts(tensors, config!, moe, findings);
  if (claimed.length === 0 && findings.errors.length === 0) {
    findings.refuse('adapter_without_effect', `${EXPERTS_FILE}: "experts" lists none: the base would answer in the adapter's name`, { field: 'experts' });
  }
  findings.throwIfAny();
  const experts = await scanExperts(claimed, findings);
  findings.throwIfAny();
  return {
    kind: 'esft', digest, folder: path, experts, rank: 0, targetModules: ['experts'],
    bytes: [...files.values()].reduce((sum, file) => sum + file.size, 0), warnings: findings.warnings, ignored,
  };
}

async function openWeights(path: string): Promise<Safetensors> {
  try {
    return await openSafetensors(path, ADAPTER_LIMITS);
  } catch (error) {
    throw asRefusal(error, path);
  }
}
