export { checkAdapterText, loadAdapterTokenizer, loadTokenizer, Tokenizer, type EncodeOptions, type LoadOptions } from './tokenizer.js';
export { IncrementalDetokenizer, type DecodeOptions, type TokenSource } from './detokenizer.js';
export { StopStrings, type StopOptions, type StopResult } from './stop-strings.js';
export type { ChatMessage, ContentPart, RenderOptions } from './chat-template.js';
export { TemplateThread } from './template-thread.js';
