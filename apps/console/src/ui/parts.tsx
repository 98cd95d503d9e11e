/** The small pieces that every page is made of. */
import { useId, useLayoutEffect, useRef, useState, type ButtonHTMLAttributes, type ReactNode } from 'react';
import { ApiError } from '../lib/api.js';

export function Page({ title, hint, actions, children, wide = false }: { title: ReactNode; hint?: ReactNode; actions?: ReactNode; children: ReactNode; wide?: boolean }): ReactNode {
  return (
    <div className={wide ? 'page wide' : 'page'}>
      <header className="page-head">
        <div><h1>{title}</h1>{hint !== undefined && <p className="hint">{hint}</p>}</div>
        {actions !== undefined && <div className="actions">{actions}</div>}
      </header>
      {children}
    </div>
  );
}

export function Button({ kind = 'plain', ...rest }: ButtonHTMLAttributes<HTMLButtonElement> & { kind?: 'plain' | 'main' | 'danger' | 'quiet' }): ReactNode {
  return <button type="button" {...rest} className={`button ${kind} ${rest.className ?? ''}`} />;
}

export function Tag({ tone = 'plain', children, title }: { tone?: 'plain' | 'good' | 'bad' | 'busy' | 'accent'; children: ReactNode; title?: string }): ReactNode {
  return <span className={`tag ${tone}`} title={title}>{children}</span>;
}

const TONES: Record<string, 'good' | 'bad' | 'busy' | 'plain'> = {
  ready: 'good', completed: 'good', ok: 'good', failed: 'bad', cancelled: 'plain', validating: 'busy', running: 'busy', waiting: 'busy', deleted: 'plain',
};
export const Status = ({ of }: { of: string }): ReactNode => <Tag tone={TONES[of] ?? 'plain'}><i className="dot" aria-hidden="true" />{of}</Tag>;

/** What is not there yet: says so, and what to do. */
export function Empty({ title, children }: { title: string; children?: ReactNode }): ReactNode {
  return <div className="empty"><Threads /><h2>{title}</h2><div>{children}</div></div>;
}

const Threads = (): ReactNode => (
  <svg viewBox="0 0 64 40" width="64" height="40" aria-hidden="true" className="threads">
    <path d="M12 2v36M24 2v36M36 2v36M48 2v36" /><path className="weft" d="M2 11h14M20 11h16M40 11h22M2 20h26M32 20h30M2 29h14M20 29h16M40 29h22" />
  </svg>
);

export function Failure({ error, retry }: { error: unknown; retry?: () => void }): ReactNode {
  const { message, code, requestId } = error instanceof ApiError ? error : { message: String(error), code: '', requestId: null };
  return (
    <div className="notice bad" role="alert">
      <p><strong>{message}</strong></p>
      <p className="fine">{code && <code>{code}</code>}{requestId !== null && <> request <code>{requestId}</code></>}</p>
      {retry !== undefined && <Button onClick={retry}>Try again</Button>}
    </div>
  );
}

/** Holds the place of what is loading, so that nothing moves when it comes. */
export function Loading({ rows = 6, label = 'Loading' }: { rows?: number; label?: string }): ReactNode {
  return <div className="loading" role="status" aria-label={label}>{Array.from({ length: rows }, (_, i) => <div key={i} className="bone" />)}</div>;
}

export function Field({ label, hint, error, children }: { label: string; hint?: ReactNode; error?: string | undefined; children: (props: { id: string; 'aria-describedby'?: string; 'aria-invalid'?: true }) => ReactNode }): ReactNode {
  const id = useId();
  const says = error ?? hint;
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children({ id, ...(says !== undefined && { 'aria-describedby': `${id}-says` }), ...(error !== undefined && { 'aria-invalid': true as const }) })}
      {says !== undefined && <div id={`${id}-says`} className={error === undefined ? 'fine' : 'fine wrong'}>{says}</div>}
    </div>
  );
}

export interface Option { value: string; label: string }

export function Select({ label, value, options, onChange, hideLabel = false }: { label: string; value: string; options: readonly Option[]; onChange: (value: string) => void; hideLabel?: boolean }): ReactNode {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id} className={hideLabel ? 'unseen' : undefined}>{label}</label>
      <select id={id} value={value} onChange={event => onChange(event.target.value)}>{options.map(option => <option key={option.value} value={option.value}>{option.label}</option>)}</select>
    </div>
  );
}

/** A modal dialog: focus stays in it and goes back where it was; Escape closes it. */
export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ReactNode }): ReactNode {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  // Closed while it is still in the document: then focus goes back by itself.
  useLayoutEffect(() => { const shown = dialog.current!; shown.showModal(); return () => shown.close(); }, []);
  return (
    <dialog ref={dialog} aria-labelledby={id} onCancel={event => { event.preventDefault(); onClose(); }}>
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  );
}

/** Asks before something that can't be taken back. */
export function Confirm({ title, action, busy, error, onConfirm, onClose, children }: {
  title: string; action: string; busy: boolean; error: unknown; onConfirm: () => void; onClose: () => void; children: ReactNode;
}): ReactNode {
  return (
    <Dialog title={title} onClose={onClose}>
      <div className="prose">{children}</div>
      {error !== null && error !== undefined && <Failure error={error} />}
      <div className="actions end"><Button onClick={onClose}>Cancel</Button><Button kind="danger" disabled={busy} onClick={onConfirm}>{action}</Button></div>
    </Dialog>
  );
}

export function Copy({ text, label = 'Copy' }: { text: string; label?: string }): ReactNode {
  const [done, setDone] = useState(false);
  const copy = async (): Promise<void> => {
    await copyText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return <Button kind="quiet" onClick={() => void copy()}><span aria-live="polite">{done ? 'Copied' : label}</span></Button>;
}

/** Pages that come over plain HTTP from another machine have no clipboard of their own. */
async function copyText(text: string): Promise<void> {
  if (navigator.clipboard !== undefined) return navigator.clipboard.writeText(text);
  const area = document.createElement('textarea');
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
}

export function Stat({ label, value, unit }: { label: string; value: ReactNode; unit?: string }): ReactNode {
  return <div className="stat"><dt>{label}</dt><dd>{value}{unit !== undefined && <small> {unit}</small>}</dd></div>;
}
