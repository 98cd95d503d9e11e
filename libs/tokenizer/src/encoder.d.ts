import type { JsonObject } from './files.js';
import type { Pipeline } from './pipeline.js';

/** Text to token ids, without special tokens around them. */
export declare class Encoder {
  constructor(tokenizer: JsonObject, pipeline: Pipeline);
  encode(text: string): number[];
}
