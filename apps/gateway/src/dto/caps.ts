/** How large each field of a request may be. What a request can make the server hold is bounded before anything is held. */

/** A body: four prompts of 128k tokens as ids in JSON, and then some. */
export const BODY_BYTES_MAX = 16 * 2 ** 20;
export const MODEL_CHARS_MAX = 512;
/** Prompts in one /v1/completions request, and choices of all of them together: as many rows wait in the executor. */
export const PROMPTS_MAX = 1024;
export const CHOICES_MAX = 1024;
/** OpenAI's own limit. */
export const N_MAX = 128;
export const MESSAGES_MAX = 4096;
/** Token counts are 32-bit on the way to the device; the model's context is checked with its own message. */
export const TOKENS_MAX = 2 ** 31 - 1;
export const TOKEN_ID_MAX = 2 ** 31 - 1;
export const STOP_STRINGS_MAX = 16;
/** A stop string is searched character by character; a longer one is a mistake. */
export const STOP_CHARS_MAX = 1024;
export const STOP_IDS_MAX = 64;
/** OpenAI's own limit; the engine keeps a list of them for each running row. */
export const LOGIT_BIAS_MAX = 300;
/** What the device reduces logits to. */
export const TOP_LOGPROBS_MAX = 20;
export const TEMPERATURE_MAX = 2;
export const PENALTY_MAX = 2;
export const REPETITION_PENALTY_MAX = 10;
export const BIAS_MAX = 100;
export const METADATA_PAIRS_MAX = 16;
export const METADATA_KEY_CHARS_MAX = 64;
export const METADATA_VALUE_CHARS_MAX = 512;
export const USER_CHARS_MAX = 512;
/** Variables of chat_template_kwargs. */
export const TEMPLATE_VARIABLES_MAX = 64;
