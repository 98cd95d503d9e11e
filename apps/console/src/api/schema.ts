// Made by generate.ts from the gateway's OpenAPI document. Do not edit.

export type Adapter = {
  id: string;
  object: 'adapter';
  name: string;
  tenant: string;
  description: string;
  /** Unix seconds */
  created_at: number;
  versions: Array<AdapterVersion>;
  /** Alias to version; latest is the newest ready one */
  aliases: Record<string, number>;
  /** Names of tenants */
  shared_with: Array<string>;
};

export type AdapterFile = {
  object: 'adapter.file';
  name: string;
  bytes: number;
  sha256: string;
};

export type AdapterFiles = {
  object: 'adapter.files';
  data: Array<{
    name: string;
    bytes: number;
    sha256: string;
  }>;
  /** adapter_config.json as it was uploaded */
  config: Record<string, unknown> | null;
};

export type AdapterVersion = {
  id: string;
  object: 'adapter.version';
  name: string;
  version: number;
  digest: string;
  base: string;
  base_digest: string;
  kind: string | null;
  rank: number | null;
  target_modules: Array<string>;
  bytes: number;
  status: 'validating' | 'ready' | 'failed' | 'deleted';
  /** Of its ingestion: queued, validate, pack, probe; null when that is over */
  stage: string | null;
  errors: Array<Finding>;
  warnings: Array<Finding>;
  /** Files of the upload that were not read */
  ignored: Array<string>;
  /** Files of the upload that prompts are made with instead of the base's tokenizer or chat template */
  text: Array<string>;
  /** The largest change of a log-probability that the probe saw */
  effect: number | null;
  /** Unix seconds */
  created_at: number;
  ready_at: number | null;
};

export type Alias = {
  object: 'adapter.alias';
  alias: string;
  version: number;
  revision: number;
  /** Unix seconds */
  updated_at: number;
};

export type AuditEntry = {
  id: string;
  object: 'audit_entry';
  tenant_id: string;
  key_id: string | null;
  request_id: string | null;
  action: string;
  subject: string;
  details: Record<string, unknown>;
  /** Unix seconds */
  at: number;
};

export type ChatCompletion = {
  id: string;
  created: number;
  model: string;
  system_fingerprint: string;
  object: 'chat.completion';
  usage: {
    prompt_tokens: number;
    completion_tokens: number;
    total_tokens: number;
    prompt_tokens_details: {
      cached_tokens: number;
    };
  };
  /** What served it */
  weft: {
    /** name@version; null for the base */
    adapter: string | null;
    digest: string;
    cold_start_ms: number;
    queue_ms: number;
  };
  prompt_token_ids?: Array<number>;
  choices: Array<{
    index: number;
    message: {
      role: 'assistant';
      content: string;
      refusal: null;
    };
    logprobs: {
      content: Array<{
        token: string;
        logprob: number;
        bytes: Array<number>;
        top_logprobs: Array<{
          token: string;
          logprob: number;
          bytes: Array<number>;
        }>;
      }>;
    } | null;
    finish_reason: 'stop' | 'length' | null;
    token_ids?: Array<number>;
  }>;
};

export type ChatCompletionChunk = {
  id: string;
  created: number;
  model: string;
  system_fingerprint: string;
  object: 'chat.completion.chunk';
  usage?: {
    prompt_tokens: number;
    completion_tokens: number;
    total_tokens: number;
    prompt_tokens_details: {
      cached_tokens: number;
    };
  } | null;
  /** What served it */
  weft?: {
    /** name@version; null for the base */
    adapter: string | null;
    digest: string;
    cold_start_ms: number;
    queue_ms: number;
  };
  prompt_token_ids?: Array<number>;
  choices: Array<{
    index: number;
    delta: {
      role?: 'assistant';
      content?: string;
      refusal?: null;
    };
    logprobs: {
      content: Array<{
        token: string;
        logprob: number;
        bytes: Array<number>;
        top_logprobs: Array<{
          token: string;
          logprob: number;
          bytes: Array<number>;
        }>;
      }>;
    } | null;
    finish_reason: 'stop' | 'length' | null;
    token_ids?: Array<number>;
  }>;
};

export type Completion = {
  id: string;
  created: number;
  model: string;
  system_fingerprint: string;
  object: 'text_completion';
  choices: Array<{
    index: number;
    text: string;
    logprobs: {
      tokens: Array<string>;
      token_logprobs: Array<number | null>;
      top_logprobs: Array<Record<string, number> | null>;
      text_offset: Array<number>;
    } | null;
    finish_reason: 'stop' | 'length' | null;
    token_ids?: Array<number>;
    prompt_token_ids?: Array<number>;
  }>;
  usage: {
    prompt_tokens: number;
    completion_tokens: number;
    total_tokens: number;
    prompt_tokens_details: {
      cached_tokens: number;
    };
  };
  /** What served it */
  weft: {
    /** name@version; null for the base */
    adapter: string | null;
    digest: string;
    cold_start_ms: number;
    queue_ms: number;
  };
};

export type CompletionChunk = {
  id: string;
  created: number;
  model: string;
  system_fingerprint: string;
  object: 'text_completion';
  choices: Array<{
    index: number;
    text: string;
    logprobs: {
      tokens: Array<string>;
      token_logprobs: Array<number | null>;
      top_logprobs: Array<Record<string, number> | null>;
      text_offset: Array<number>;
    } | null;
    finish_reason: 'stop' | 'length' | null;
    token_ids?: Array<number>;
    prompt_token_ids?: Array<number>;
  }>;
  usage?: {
    prompt_tokens: number;
    completion_tokens: number;
    total_tokens: number;
    prompt_tokens_details: {
      cached_tokens: number;
    };
  } | null;
  /** What served it */
  weft?: {
    /** name@version; null for the base */
    adapter: string | null;
    digest: string;
    cold_start_ms: number;
    queue_ms: number;
  };
};

export type CreatedKey = {
  id: string;
  object: 'api_key';
  tenant_id: string;
  name: string;
  /** Its first and last letters */
  hint: string;
  /** inference, adapters:write, admin */
  scopes: Array<string>;
  limits: Limits;
  /** Unix seconds */
  created_at: number;
  expires_at: number | null;
  revoked_at: number | null;
  last_used_at: number | null;
  /** The key itself, told this once */
  secret: string;
};

export type CurrentKey = {
  id: string;
  object: 'api_key';
  tenant_id: string;
  /** inference, adapters:write, admin */
  scopes: Array<string>;
  limits: Limits;
  expires_at: number | null;
  tenant: string;
};

export type Detokenization = {
  prompt: string;
};

export type Error = {
  error: {
    message: string;
    type: string;
    /** The field, part or header that is wrong */
    param: string | null;
    code: 'invalid_value' | 'context_length_exceeded' | 'invalid_api_key' | 'insufficient_scope' | 'model_not_found' | 'not_found' | 'method_not_allowed' | 'conflict' | 'idempotency_mismatch' | 'request_too_large' | 'unsupported_media_type' | 'rate_limit_exceeded' | 'insufficient_quota' | 'adapter_not_ready' | 'overloaded' | 'draining' | 'deadline_exceeded' | 'cancelled' | 'executor_lost' | 'registry_lost' | 'unreachable' | 'numerical_error' | 'internal_error' | 'adapter_file_missing' | 'adapter_file_unsupported' | 'adapter_config_invalid' | 'adapter_field_unsupported' | 'adapter_kind_unsupported' | 'adapter_base_mismatch' | 'adapter_tensor_unclaimed' | 'adapter_tensor_missing' | 'adapter_tensor_duplicate' | 'adapter_tensor_shape' | 'adapter_tensor_dtype' | 'adapter_tensor_not_finite' | 'adapter_rank_too_large' | 'adapter_without_effect' | 'adapter_value_out_of_range' | 'adapter_too_large' | 'safetensors_invalid' | 'checkpoint_file_missing' | 'checkpoint_config_invalid' | 'checkpoint_unsupported' | 'checkpoint_tensor_missing' | 'checkpoint_tensor_extra' | 'checkpoint_tensor_shape' | 'checkpoint_tensor_dtype' | 'checkpoint_not_finite' | 'tokenizer_invalid' | 'chat_template_missing' | 'option_invalid' | 'port_in_use' | 'data_dir_in_use' | 'database_refused' | 'out_of_memory' | 'insufficient_storage' | 'device_error' | 'device_unavailable' | 'device_lost' | 'list_invalid' | 'image_corrupt' | 'io_error';
  };
};

export type Executor = {
  object: 'executor';
  id: string;
  address: string;
  base_digest: string;
  device: string;
  build: string;
  max_model_len: number;
  page_bytes: number;
  draining: boolean;
  running: number;
  waiting: number;
  tokens_per_second: number;
  pages: {
    total: number;
    free: number;
    owners: Array<{
      owner: string;
      pages: number;
    }>;
  };
};

export type Finding = {
  code: string;
  message: string;
  field?: string;
  tensor?: string;
  file?: string;
};

export type Health = {
  status: string;
};

export type Job = {
  /** Of the version */
  id: string;
  object: 'job';
  tenant_id: string;
  adapter: string;
  version: number;
  stage: string | null;
  /** waiting, running, completed, failed, cancelled */
  state: string;
  attempts: number;
  error: string | null;
  /** Unix seconds */
  created_at: number;
  finished_at: number | null;
};

export type Key = {
  id: string;
  object: 'api_key';
  tenant_id: string;
  name: string;
  /** Its first and last letters */
  hint: string;
  /** inference, adapters:write, admin */
  scopes: Array<string>;
  limits: Limits;
  /** Unix seconds */
  created_at: number;
  expires_at: number | null;
  revoked_at: number | null;
  last_used_at: number | null;
};

export type Limits = {
  requests_per_minute: number | null;
  tokens_per_minute: number | null;
  parallel: number | null;
};

export type Model = {
  id: string;
  object: 'model';
  created: number;
  owned_by: string;
  parent: string | null;
  root: string;
  digest: string;
  max_model_len: number;
};

export type Picture = {
  object: 'picture';
  executor: string;
  /** Unix milliseconds */
  at_ms: number;
  step: number;
  step_ms: number;
  waiting: number;
  running: number;
  tokens_per_second: number;
  tokens_out: number;
  preemptions: number;
  page_bytes: number;
  weight_bytes: number;
  holders: Array<{
    /** free, sequence, adapter, prefix, retired, expert */
    kind: string;
    tenant?: string;
    request_id?: string;
    choice?: number;
    digest?: string;
    /** Adapters in the pool that use an expert */
    users?: number;
  }>;
  /** The pool in page order, run by run: index of a holder, pages */
  map: Array<number>;
  batch: Array<{
    request_id: string;
    choice: number;
    tenant: string;
    /** None: the base */
    adapters: Array<{
      digest: string;
      weight: number;
    }>;
    /** prefill, decode */
    phase: string;
    rows: number;
    prompt_tokens: number;
    generated_tokens: number;
    pages: number;
  }>;
  queue: Array<{
    request_id: string;
    tenant: string;
    /** None: the base */
    adapters: Array<{
      digest: string;
      weight: number;
    }>;
    /** stored, loading, resident */
    adapter_state: string;
    waited_ms: number;
  }>;
};

export type Tenant = {
  id: string;
  object: 'tenant';
  name: string;
  /** Unix seconds */
  created_at: number;
};

export type Tokenization = {
  count: number;
  max_model_len: number;
  tokens: Array<number>;
  token_strs: Array<string> | null;
};

export type Usage = {
  object: 'usage';
  tenant?: string;
  adapter?: string;
  model?: string;
  key?: string;
  status?: string;
  hour?: string;
  day?: string;
  requests: number;
  /** Not closed yet */
  open: number;
  prompt_tokens: number;
  cached_tokens: number;
  generated_tokens: number;
  billed_tokens: number;
  /** When the last of the requests was opened */
  last_at: number | null;
};

export type Version = {
  version: string;
};
