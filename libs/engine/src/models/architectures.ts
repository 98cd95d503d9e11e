import { deepseekV2 } from './deepseek-v2.js';
import { gemma2 } from './gemma2.js';
import { gemma3 } from './gemma3.js';
import { llama } from './llama.js';
import { mistral } from './mistral.js';
import { mixtral } from './mixtral.js';
import { olmoe } from './olmoe.js';
import { phi3 } from './phi3.js';
import { qwen2 } from './qwen2.js';
import { qwen2Moe } from './qwen2-moe.js';
import { qwen3 } from './qwen3.js';
import { qwen3Moe } from './qwen3-moe.js';
import type { Architecture } from './types.js';

/** Adding a model: its file, and its line here. */
export const ARCHITECTURES: readonly Architecture[] = [llama, mistral, qwen2, qwen3, phi3, gemma2, gemma3, mixtral, qwen2Moe, qwen3Moe, olmoe, deepseekV2];
