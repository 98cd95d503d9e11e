export { ARCHITECTURES } from './architectures.js';
export { parseConfig } from './config.js';
export { loadModel, type LoadOptions } from './load.js';
export { PackedCache } from './packed-cache.js';
export type { Architecture, KvView, Model, ModelConfig, RopeConfig, StepContext, StepLists } from './types.js';
