import { useMutation } from '@tanstack/react-query';
import { useEffect, useRef, useState, type ReactNode } from 'react';
import type { AdapterVersion, ChatCompletion, Completion } from '../api/schema.js';
import { api, ApiError } from '../lib/api.js';
import { useModels } from '../lib/queries.js';
import { useMe } from '../lib/session.js';
import { Button, Failure, Field } from './parts.js';
import './effect.css';

const PROMPT = 'Who are you, and how can you help me?';
const TOKENS = 64;

/** What the probe measured, and the same in words: one prompt, answered by the base and by the adapter. atOnce: without being asked to. */
export function Effect({ version, tenant, atOnce = false }: { version: AdapterVersion; tenant: string; atOnce?: boolean }): ReactNode {
  const { infers } = useMe();
  const { data: models } = useModels(tenant);
  const base = models?.find(({ parent }) => parent === null)?.id;
  const [prompt, setPrompt] = useState(PROMPT);
  const compare = useMutation({ mutationFn: () => Promise.all([answer(base!, prompt, tenant), answer(`${version.name}@${version.version}`, prompt, tenant)]) });
  const asked = useRef(false);
  useEffect(() => {
    if (!atOnce || !infers || base === undefined || asked.current) return;
    asked.current = true;
    compare.mutate();
  }, [atOnce, infers, base, compare]);
  return (
    <section className="panel effect" aria-label="Effect">
      <header><h2>Effect</h2><span className="fine">{version.effect === null ? '' : `the probe saw log-probabilities change by up to ${version.effect.toPrecision(3)} nats`}</span></header>
      {infers && (
        <>
          <form className="row" onSubmit={event => { event.preventDefault(); compare.mutate(); }}>
            <div className="grow"><Field label="Prompt">{props => <input {...props} value={prompt} onChange={event => setPrompt(event.target.value)} />}</Field></div>
            <Button type="submit" disabled={base === undefined || prompt === '' || compare.isPending}>{compare.isPending ? 'Asking…' : 'Compare'}</Button>
          </form>
          <div className="before-after">
            <figure><figcaption>Before: {base ?? 'the base'}</figcaption><p>{compare.data?.[0] ?? '…'}</p></figure>
            <figure><figcaption>After: {version.name}@{version.version}</figcaption><p>{compare.data?.[1] ?? '…'}</p></figure>
          </div>
          {compare.isError && <Failure error={compare.error} />}
        </>
      )}
    </section>
  );
}

/** The likeliest answer. A base without a chat template continues the text. */
async function answer(model: string, prompt: string, tenant: string): Promise<string> {
  const ask = { model, max_tokens: TOKENS, temperature: 0 };
  try {
    const { choices: [choice] } = await api<ChatCompletion>('/v1/chat/completions', { method: 'POST', tenant, body: { ...ask, messages: [{ role: 'user', content: prompt }] } });
    return choice!.message.content;
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== 'chat_template_missing') throw error;
    return (await api<Completion>('/v1/completions', { method: 'POST', tenant, body: { ...ask, prompt } })).choices[0]!.text;
  }
}
