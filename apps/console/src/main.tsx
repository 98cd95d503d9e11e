import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { ApiError } from './lib/api.js';
import { session, useSession } from './lib/session.js';
import './lib/theme.js';
import { SignIn } from './pages/sign-in.js';
import { router } from './router.js';
import './style.css';

/** What was refused is not asked again; what did not answer is, twice. */
const queries = new QueryClient({ defaultOptions: { queries: { retry: (failed, error) => failed < 2 && !(error instanceof ApiError && error.status >= 400 && error.status < 500) } } });

// Nothing that one key saw is shown to the next.
let shown = session.get()?.key;
function App() {
  const current = useSession();
  if (current?.key !== shown) { queries.clear(); shown = current?.key; }
  return current === null ? <SignIn /> : <RouterProvider router={router} />;
}

createRoot(document.getElementById('page')!).render(<StrictMode><QueryClientProvider client={queries}><App /></QueryClientProvider></StrictMode>);
