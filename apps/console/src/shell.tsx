import { Link, Outlet, useRouterState, type LinkProps } from '@tanstack/react-router';
import { useEffect, useState, type ReactNode } from 'react';
import { session, useMe } from './lib/session.js';
import { setTheme, THEMES, useTheme } from './lib/theme.js';
import { Mark } from './pages/sign-in.js';
import { Button, Tag } from './ui/parts.js';

interface Entry { to: LinkProps['to']; label: string; needs?: 'admin' | 'writes' | 'infers' }
const ENTRIES: readonly Entry[][] = [
  [{ to: '/live', label: 'Live', needs: 'admin' }, { to: '/adapters', label: 'Adapters' }, { to: '/upload', label: 'Upload', needs: 'writes' }, { to: '/playground', label: 'Playground', needs: 'infers' }],
  [{ to: '/usage', label: 'Usage' }, { to: '/keys', label: 'Keys & limits', needs: 'admin' }, { to: '/tenants', label: 'Tenants', needs: 'admin' }],
  [{ to: '/jobs', label: 'Ingestion', needs: 'admin' }, { to: '/executors', label: 'Executors', needs: 'admin' }, { to: '/audit', label: 'Audit log', needs: 'admin' }],
];

export function Shell(): ReactNode {
  const me = useMe();
  const [open, setOpen] = useState(false);
  const path = useRouterState({ select: ({ location }) => location.pathname });
  useEffect(() => setOpen(false), [path]);
  return (
    <div className="shell">
      <a className="skip" href="#content">Skip to the content</a>
      <header className="bar">
        <Button kind="quiet" aria-expanded={open} aria-controls="menu" onClick={() => setOpen(!open)}>Menu</Button>
        <Link to="/" className="brand"><Mark />Weft</Link>
      </header>
      <nav id="menu" className={open ? 'side open' : 'side'} aria-label="Main">
        <Link to="/" className="brand"><Mark />Weft</Link>
        {ENTRIES.map((group, at) => (
          <ul key={at}>
            {group.filter(({ needs }) => needs === undefined || me[needs]).map(({ to, label }) => <li key={label}><Link to={to} activeProps={{ 'aria-current': 'page' }}>{label}</Link></li>)}
          </ul>
        ))}
        <div className="who">
          <p><strong>{me.tenant}</strong> {me.admin && <Tag tone="accent">admin</Tag>}</p>
          <ThemeChoice />
          <p className="row"><a href="/docs">API</a><Button kind="quiet" onClick={() => session.set(null)}>Sign out</Button></p>
        </div>
      </nav>
      <main id="content" tabIndex={-1}><Outlet /></main>
    </div>
  );
}

function ThemeChoice(): ReactNode {
  const theme = useTheme();
  return (
    <div role="radiogroup" aria-label="Theme" className="segmented">
      {THEMES.map(one => <label key={one}><input type="radio" name="theme" checked={theme === one} onChange={() => setTheme(one)} /><span>{one}</span></label>)}
    </div>
  );
}
