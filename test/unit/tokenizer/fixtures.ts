/** The small tokenizers of test/fixtures/make_tokenizer_cases.py and what transformers makes of texts, ids and chats with them. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ChatMessage, RenderOptions } from '@weft/tokenizer';

export interface Cases {
  texts: { text: string; ids: number[]; plain: number[] }[];
  decodes: { ids: number[]; text: string; bare: string }[];
  chats: { messages: ChatMessage[]; options: RenderOptions; text?: string; ids?: number[]; error?: string }[];
}

export const root = fileURLToPath(new URL('../../fixtures/tokenizer', import.meta.url));
export const names = readdirSync(root).sort();
export const folder = (name: string): string => path.join(root, name);
export const casesOf = (name: string): Cases => JSON.parse(readFileSync(path.join(root, name, 'cases.json'), 'utf8')) as Cases;
