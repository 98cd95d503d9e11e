import { llama } from './llama.js';
import { mistral } from './mistral.js';
import { qwen2 } from './qwen2.js';
import { qwen3 } from './qwen3.js';
import type { Architecture } from './types.js';

/** Adding a model: its file, and its line here. */
export const ARCHITECTURES: readonly Architecture[] = [llama, mistral, qwen2, qwen3];
