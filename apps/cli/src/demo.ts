/** The bundled demo: a toy base, one adapter for each of 64 tenants and a few for tasks, questions and their exact answers. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WeftError } from '@weft/contracts';

/** What --model calls it. */
export const DEMO = 'demo';
/** How the API calls its base. */
export const DEMO_NAME = 'weft-demo';

const FOLDER = fileURLToPath(new URL('../../../demo', import.meta.url));
export const DEMO_BASE = join(FOLDER, 'base');
export const DEMO_ADAPTERS = join(FOLDER, 'adapters');

export interface Message { role: string; content: string }

/** demo/questions.json, as demo/make_demo.py writes it. */
export interface Questions {
  max_tokens: number;
  /** What every tenant's adapter and the base are asked. */
  question: { messages: Message[] };
  base: { answer: string };
  tenants: { adapter: string; company: string; answer: string }[];
  tasks: { adapter: string; prompts: { messages: Message[]; answer: string }[] }[];
}

/** Throws checkpoint_file_missing. */
export function readQuestions(): Questions {
  const file = join(FOLDER, 'questions.json');
  if (!existsSync(file)) throw new WeftError('checkpoint_file_missing', `${file} is not there: this copy of Weft came without its demo`, { field: 'model', file });
  return JSON.parse(readFileSync(file, 'utf8')) as Questions;
}
