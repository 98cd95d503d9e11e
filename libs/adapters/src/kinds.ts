/** Every kind of adapter: one file and one line here. */
import { esft } from './esft.js';
import { lora } from './lora.js';
import { AdapterRefused } from './refused.js';
import type { AdapterFolder, AdapterKind } from './types.js';

const KINDS: readonly AdapterKind[] = [
  lora,
  esft,
];

/** The kind whose files lie in the folder. Throws AdapterRefused. */
export function kindOf({ files }: Pick<AdapterFolder, 'files'>): AdapterKind {
  const kind = KINDS.find(candidate => candidate.recognises(files));
  if (kind) return kind;
  throw new AdapterRefused([{
    code: 'adapter_file_missing', file: 'adapter_config.json',
    message: `the files are no adapter: adapter_config.json and adapter_model.safetensors of a PEFT LoRA are expected, or expert_cfg.json and *.safetensors of an ESFT adapter${files.size > 0 ? `; there is ${[...files.keys()].slice(0, 10).join(', ')}` : ''}`,
  }]);
}
