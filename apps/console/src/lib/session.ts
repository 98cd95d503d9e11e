/** Who is signed in: a key, kept for as long as this tab. */
import { useSyncExternalStore } from 'react';
import type { CurrentKey } from '../api/schema.js';

export interface Session { key: string; me: CurrentKey }

const STORED = 'weft.session';
const listeners = new Set<() => void>();
let current = restore();

function restore(): Session | null {
  const text = sessionStorage.getItem(STORED);
  return text === null ? null : JSON.parse(text) as Session;
}

export const session = {
  get: (): Session | null => current,
  set(next: Session | null): void {
    current = next;
    if (next === null) sessionStorage.removeItem(STORED);
    else sessionStorage.setItem(STORED, JSON.stringify(next));
    for (const listener of listeners) listener();
  },
};

const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

export const useSession = (): Session | null => useSyncExternalStore(subscribe, session.get);

/** Of whoever is signed in: the pages behind the sign-in. */
export function useMe(): CurrentKey & { admin: boolean; writes: boolean; infers: boolean } {
  const { me } = useSession()!;
  const has = (scope: string): boolean => me.scopes.includes(scope);
  return { ...me, admin: has('admin'), writes: has('adapters:write'), infers: has('inference') };
}
