import type { ReactNode } from 'react';
import type { Finding } from '../api/schema.js';

/** What whoever uploads can do about it. */
const ADVICE: Record<string, string> = {
  adapter_file_missing: 'Upload the whole folder that the trainer wrote, not single files of it.',
  adapter_file_unsupported: 'Save the adapter as safetensors: save_pretrained(…, safe_serialization=True).',
  adapter_config_invalid: 'Correct this field of adapter_config.json, then upload again.',
  adapter_field_unsupported: 'Train without this option, or merge it into the weights before saving.',
  adapter_kind_unsupported: 'Weft serves the kinds that its documentation lists; train one of those.',
  adapter_base_mismatch: 'This adapter was made for another base. Upload it where that base is served.',
  adapter_tensor_unclaimed: 'Remove this tensor, or name its module in target_modules.',
  adapter_tensor_missing: 'Save the adapter again: its half of the pair is missing.',
  adapter_tensor_duplicate: 'Save the adapter again: each tensor may occur once.',
  adapter_tensor_shape: 'The shape does not fit the base: was it trained on another size of the model?',
  adapter_tensor_dtype: 'Save it in float32, float16 or bfloat16.',
  adapter_tensor_not_finite: 'Training diverged: an earlier checkpoint may be sound.',
  adapter_value_out_of_range: 'Save this tensor in bfloat16.',
  adapter_rank_too_large: 'Train with a lower rank, or reduce it by SVD.',
  adapter_without_effect: 'It changes nothing: was it trained at all, and saved after training?',
  numerical_error: 'The adapter makes the model\'s answers infinite or NaN: an earlier checkpoint may be sound.',
  safetensors_invalid: 'The file is damaged or cut off. Copy it again and upload it again.',
  request_too_large: 'Upload only the adapter itself.',
};

/** What is wrong, where, and what to do. */
export function Findings({ findings, tone }: { findings: readonly Finding[]; tone: 'bad' | 'busy' }): ReactNode {
  return (
    <ul className="findings">
      {findings.map(({ code, message, field, tensor, file }, at) => (
        <li key={at} className={`notice ${tone}`}>
          <p><strong>{message}</strong></p>
          <p className="fine">{[tensor && <>tensor <code key="t">{tensor}</code> </>, field && <>field <code key="f">{field}</code> </>, file && <>file <code key="n">{file}</code> </>]}<code>{code}</code></p>
          {ADVICE[code] !== undefined && <p>{ADVICE[code]}</p>}
        </li>
      ))}
    </ul>
  );
}
