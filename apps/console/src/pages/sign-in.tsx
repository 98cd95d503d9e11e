import { useState, type FormEvent, type ReactNode } from 'react';
import type { CurrentKey } from '../api/schema.js';
import { api, ApiError } from '../lib/api.js';
import { session } from '../lib/session.js';
import { Button, Field } from '../ui/parts.js';

export function SignIn(): ReactNode {
  const [key, setKey] = useState('');
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);
  const signIn = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      const me = await api<CurrentKey>('/v1/keys/current', { key: key.trim() });
      session.set({ key: key.trim(), me });
    } catch (thrown) {
      setError(thrown instanceof ApiError ? thrown.message : String(thrown));
      setBusy(false);
    }
  };
  return (
    <main className="sign-in">
      <form onSubmit={event => void signIn(event)}>
        <Mark />
        <h1>Weft</h1>
        <p className="hint">One base model, woven through with many adapters.</p>
        <Field label="API key" error={error} hint={<>An admin key shows everything; a tenant key, what is its own. <code>npm start</code> prints both. It is kept in this tab only.</>}>
          {props => <input {...props} type="password" autoComplete="off" spellCheck={false} autoFocus required value={key} onChange={event => { setKey(event.target.value); setError(undefined); }} placeholder="sk-…" />}
        </Field>
        <Button kind="main" type="submit" disabled={busy || key.trim() === ''}>{busy ? 'Signing in…' : 'Sign in'}</Button>
      </form>
    </main>
  );
}

export const Mark = (): ReactNode => (
  <svg className="mark" viewBox="0 0 32 32" width="32" height="32" aria-hidden="true">
    <rect width="32" height="32" rx="7" /><path className="warp" d="M10 6v20M16 6v20M22 6v20" /><path d="M6 11h7M19 11h7M10 16h12M6 21h7M19 21h7" />
  </svg>
);
