/** LoRA and DoRA as PEFT saves them: adapter_config.json and adapter_model.safetensors. */
import { asRefusal, Findings } from './refused.js';
import { CONFIG_FILE, readLoraConfig, type LoraConfig } from './lora-config.js';
import { EndTensors } from './lora-ends.js';
import { claimExperts } from './lora-experts.js';
import { packLora } from './lora-pack.js';
import { resolveTargets } from './lora-targets.js';
import { claimTensors, WEIGHTS_FILE } from './lora-tensors.js';
import { scanRows, scanValues } from './lora-values.js';
import { ADAPTER_LIMITS, openSafetensors, type Safetensors } from './safetensors.js';
import { endPlaces, type AdapterFolder, type AdapterKind, type BaseGeometry, type LoraManifest } from './types.js';

export const lora: AdapterKind<LoraManifest> = {
  name: 'lora',
  recognises: files => files.has(CONFIG_FILE),
  validate,
  pack: packLora,
};

/** Files, config, tensors, values: each stage tells all that it finds, and the next begins only if it found nothing wrong. */
async function validate(folder: AdapterFolder, base: BaseGeometry): Promise<LoraManifest> {
  const findings = new Findings();
  const { files } = folder;
  for (const name of files.keys()) {
    if (name !== CONFIG_FILE && name !== WEIGHTS_FILE) {
      findings.refuse('adapter_file_unsupported', `${name} is no file of a PEFT LoRA, which is ${CONFIG_FILE} and ${WEIGHTS_FILE}. Leave it out`, { file: name });
    }
  }
  for (const name of [CONFIG_FILE, WEIGHTS_FILE]) {
    if (!files.has(name)) findings.refuse('adapter_file_missing', `${name} is missing`, { file: name });
  }
  findings.throwIfAny();

  const config = await readLoraConfig(files.get(CONFIG_FILE)!, findings);
  findings.throwIfAny();
  warnOtherBase(config!, base, findings);
  const targets = resolveTargets(config!, base, findings);
  findings.throwIfAny();
  const endTensors = new EndTensors(config!, base, targets, findings);
  findings.throwIfAny();

  const { tensors } = await openWeights(files.get(WEIGHTS_FILE)!.path);
  const onExperts = claimExperts(tensors, config!, base, findings);
  const others = new Map([...tensors].filter(([name]) => !onExperts.claimed.has(name)));
  const pairs = [...claimTensors(others, config!, targets, endTensors, base, findings), ...onExperts.pairs].sort((a, b) => a.layer - b.layer || a.site.index - b.site.index);
  const rows = await endTensors.rows(findings), trained = config!.modulesToSave.length + config!.trainableTokens.size > 0;
  if (pairs.length === 0 && !trained && findings.errors.length === 0) {
    findings.refuse('adapter_config_invalid', `${CONFIG_FILE}: "target_modules" matches no module of ${base.architecture}`, { field: 'target_modules' });
  }
  findings.throwIfAny();
  const modules = await scanValues(pairs, trained && rows.length > 0, findings), ends = await scanRows(rows, findings);
  findings.throwIfAny();

  return {
    kind: 'lora', digest: folder.digest, folder: folder.path, modules, ends, vocab: endTensors.vocab,
    rank: modules.reduce((largest, module) => Math.max(largest, module.rank), 0),
    targetModules: modulesOf(modules, base),
    bytes: [...files.values()].reduce((sum, file) => sum + file.size, 0),
    warnings: findings.warnings, ignored: folder.ignored,
  };
}

/** As people name them, each once. */
function modulesOf(modules: LoraManifest['modules'], base: BaseGeometry): string[] {
  const inLayers = base.sites.filter(site => modules.some(module => module.layer < base.layers && module.site === site.index));
  const atEnds = endPlaces(base).filter(({ layer, site }) => modules.some(module => module.layer === layer && module.site === site.index));
  return [...new Set([...inLayers, ...atEnds.map(({ site }) => site)].map(({ module }) => module.slice(module.lastIndexOf('.') + 1)))];
}

async function openWeights(path: string): Promise<Safetensors> {
  try {
    return await openSafetensors(path, ADAPTER_LIMITS);
  } catch (error) {
    throw asRefusal(error, path);
  }
}

function warnOtherBase({ baseModel }: LoraConfig, base: BaseGeometry, findings: Findings): void {
  const trimmed = baseModel?.replace(/\/+$/, '');
  if (!trimmed || base.names.some(name => name.replace(/\/+$/, '') === trimmed)) return;
  findings.warn('adapter_base_mismatch', `${CONFIG_FILE}: "base_model_name_or_path" is ${JSON.stringify(baseModel)}; this base is ${base.names[0]}`, { field: 'base_model_name_or_path' });
}
