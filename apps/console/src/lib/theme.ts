/** Light, dark, or as the system has it. Stylesheets follow by themselves; canvases ask here. */
import { useSyncExternalStore } from 'react';

export const THEMES = ['system', 'light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];

const STORED = 'weft.theme';
const system = matchMedia('(prefers-color-scheme: dark)');
const listeners = new Set<() => void>();
let theme = THEMES.find(one => one === localStorage.getItem(STORED)) ?? 'system';
document.documentElement.dataset.theme = theme;

export function setTheme(next: Theme): void {
  theme = next;
  document.documentElement.dataset.theme = next;
  localStorage.setItem(STORED, next);
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  system.addEventListener('change', listener);
  return () => { listeners.delete(listener); system.removeEventListener('change', listener); };
}

export const useTheme = (): Theme => useSyncExternalStore(subscribe, () => theme);
export const useDark = (): boolean => useSyncExternalStore(subscribe, () => (theme === 'system' ? system.matches : theme === 'dark'));
