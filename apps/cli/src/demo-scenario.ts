/** The scenario of --once on the demo: one question to all tenants' adapters and the base, and the tasks' prompts, in one batch. */
import type { Refused } from './adapter-folders.js';
import type { Api, ChatAnswer, Model } from './api.js';
import type { Message, Questions } from './demo.js';
import { findingLines } from './findings.js';
import { describeThrown, speed, type Apis } from './once.js';
import { poolMap, watchPool } from './pool.js';
import { oneLine, table } from './table.js';

/** Whole answers of tenants: what they differ in stands at their end. */
const ANSWER_WIDTH = 60;
/** Prompts and answers of tasks: the table fits into 80 columns. */
const TASK_WIDTH = 27;

interface Asked { model: string; messages: Message[]; expected: string; answer: string; tokens: number; problem: string | null }

/** Prints the tables. True when every answer was the expected one, to the letter. */
export async function runDemo({ tenant, admin }: Apis, questions: Questions, refused: readonly Refused[], print: (text: string) => void): Promise<boolean> {
  const models = (await tenant.get<{ data: Model[] }>('/v1/models')).data;
  const base = models.find(({ parent }) => parent === null)!.id;
  const ask = (model: string, messages: Message[], expected: string): Promise<Asked> => answered(tenant, { model, messages, expected }, questions.max_tokens);
  const { messages } = questions.question;
  const fullest = watchPool(admin);
  const began = performance.now();
  const [ofBase, ofTenants, ofTasks] = await Promise.all([
    ask(base, messages, questions.base.answer),
    Promise.all(questions.tenants.map(({ adapter, answer }) => ask(adapter, messages, answer))),
    Promise.all(questions.tasks.flatMap(({ adapter, prompts }) => prompts.map(prompt => ask(adapter, prompt.messages, prompt.answer)))),
  ]);
  const seconds = (performance.now() - began) / 1000;
  const executor = await fullest();
  const all = [ofBase, ...ofTenants, ...ofTasks];

  print(`\n${messages.at(-1)!.content}\n`);
  print(table(['model', 'answer', 'exact'], [ofBase, ...ofTenants].map(asked => [asked.model, oneLine(asked.answer, ANSWER_WIDTH), mark(asked)])));
  print('');
  print(table(['task', 'prompt', 'answer', 'exact'], ofTasks.map(asked =>
    [asked.model, oneLine(asked.messages.at(-1)!.content, TASK_WIDTH), oneLine(asked.answer, TASK_WIDTH), mark(asked)])));
  print(`\ntenants: ${exact(ofTenants)} exact; tasks: ${exact(ofTasks)} exact; the base alone answers «${oneLine(ofBase.answer, ANSWER_WIDTH)}»`);
  print(`${speed(all.length, executor.device, all.reduce((sum, { tokens }) => sum + tokens, 0), seconds)}\n`);
  print(poolMap(executor, models));
  const wrong = all.filter(asked => !isExact(asked));
  if (wrong.length + refused.length > 0) print('');
  for (const { name, errors } of refused) print(`refused ${name}: ${findingLines(errors)[0]}`);
  for (const { model, answer, expected, problem } of wrong) print(problem === null ? `wrong ${model}: ${JSON.stringify(answer)} instead of ${JSON.stringify(expected)}` : `failed ${model}: ${problem}`);
  return wrong.length + refused.length === 0;
}

async function answered(api: Api, asked: Pick<Asked, 'model' | 'messages' | 'expected'>, maxTokens: number): Promise<Asked> {
  try {
    const { choices, usage } = await api.post<ChatAnswer>('/v1/chat/completions', { model: asked.model, messages: asked.messages, max_tokens: maxTokens, temperature: 0 });
    return { ...asked, answer: choices[0]!.message!.content, tokens: usage.completion_tokens, problem: null };
  } catch (error) {
    return { ...asked, answer: '', tokens: 0, problem: describeThrown(error) };
  }
}

const isExact = ({ problem, answer, expected }: Asked): boolean => problem === null && answer === expected;
const mark = (asked: Asked): string => (isExact(asked) ? 'ok' : '✗');
const exact = (all: readonly Asked[]): string => `${all.filter(isExact).length} of ${all.length}`;
