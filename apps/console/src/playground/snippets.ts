/** The same request for other programs. The key is theirs to fill in. */
import { requestOf, type Params } from './run.js';

export type Language = 'curl' | 'Python' | 'TypeScript';
export const LANGUAGES: readonly Language[] = ['curl', 'Python', 'TypeScript'];

export function snippet(language: Language, model: string, params: Params, tenant: string | undefined): string {
  const { path, body } = requestOf(model, params);
  const origin = location.origin;
  if (language === 'curl') {
    const json = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
    return [`curl ${origin}${path}`, `  -H "Authorization: Bearer $WEFT_KEY"`, ...(tenant === undefined ? [] : [`  -H 'x-weft-tenant: ${tenant}'`]), `  -H 'Content-Type: application/json'`, `  -d '${json}'`].join(' \\\n');
  }
  const call = params.mode === 'chat' ? 'chat.completions' : 'completions';
  const answer = params.mode === 'chat' ? 'choices[0].message.content' : 'choices[0].text';
  if (language === 'Python') {
    const headers = tenant === undefined ? '' : `, default_headers={"x-weft-tenant": ${JSON.stringify(tenant)}}`;
    const fields = Object.entries(body).map(([name, value]) => `    ${name}=${python(value)},\n`).join('');
    return `import os\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${origin}/v1", api_key=os.environ["WEFT_KEY"]${headers})\nanswer = client.${call}.create(\n${fields})\nprint(answer.${answer})\n`;
  }
  const headers = tenant === undefined ? '' : `, defaultHeaders: { 'x-weft-tenant': ${JSON.stringify(tenant)} }`;
  return `import OpenAI from 'openai';\n\nconst client = new OpenAI({ baseURL: '${origin}/v1', apiKey: process.env.WEFT_KEY${headers} });\nconst answer = await client.${call}.create(${JSON.stringify(body, null, 2)});\nconsole.log(answer.${answer});\n`;
}

/** JSON as Python writes it. */
function python(value: unknown): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (Array.isArray(value)) return `[${value.map(python).join(', ')}]`;
  if (typeof value === 'object') return `{${Object.entries(value as object).map(([name, inner]) => `${JSON.stringify(name)}: ${python(inner)}`).join(', ')}}`;
  return JSON.stringify(value);
}
