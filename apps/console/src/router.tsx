import { createRootRoute, createRoute, createRouter, lazyRouteComponent, redirect } from '@tanstack/react-router';
import { session } from './lib/session.js';
import { Shell } from './shell.js';
import { Empty, Failure, Loading, Page } from './ui/parts.js';
import { parseAdapterSearch } from './pages/adapter-search.js';

const root = createRootRoute({
  component: Shell,
  notFoundComponent: () => <Page title="Not here"><Empty title="There is no such page">Choose one on the left.</Empty></Page>,
});

const under = () => root;
const home = createRoute({ getParentRoute: under, path: '/', beforeLoad: () => { throw redirect({ to: session.get()?.me.scopes.includes('admin') ? '/live' : '/adapters' }); } });
const live = createRoute({ getParentRoute: under, path: '/live', component: lazyRouteComponent(() => import('./live/live-page.js'), 'LivePage') });
const adapters = createRoute({ getParentRoute: under, path: '/adapters', validateSearch: parseAdapterSearch, component: lazyRouteComponent(() => import('./pages/adapters.js'), 'AdaptersPage') });
const upload = createRoute({ getParentRoute: under, path: '/upload', component: lazyRouteComponent(() => import('./upload/upload-page.js'), 'UploadPage') });
const adapter = createRoute({ getParentRoute: under, path: '/adapters/$tenant/$name', component: lazyRouteComponent(() => import('./pages/adapter.js'), 'AdapterPage') });
const playground = createRoute({
  getParentRoute: under, path: '/playground', component: lazyRouteComponent(() => import('./playground/playground-page.js'), 'PlaygroundPage'),
  validateSearch: (search: Record<string, unknown>): { tenant?: string; models?: string[] } => ({
    ...(typeof search.tenant === 'string' && { tenant: search.tenant }), ...(Array.isArray(search.models) && { models: search.models.map(String).slice(0, 4) }),
  }),
});
const usage = createRoute({ getParentRoute: under, path: '/usage', component: lazyRouteComponent(() => import('./pages/usage.js'), 'UsagePage') });
const keys = createRoute({ getParentRoute: under, path: '/keys', component: lazyRouteComponent(() => import('./pages/keys.js'), 'KeysPage') });
const tenants = createRoute({ getParentRoute: under, path: '/tenants', component: lazyRouteComponent(() => import('./pages/tenants.js'), 'TenantsPage') });
const jobs = createRoute({ getParentRoute: under, path: '/jobs', component: lazyRouteComponent(() => import('./pages/jobs.js'), 'JobsPage') });
const audit = createRoute({ getParentRoute: under, path: '/audit', component: lazyRouteComponent(() => import('./pages/audit.js'), 'AuditPage') });
const executors = createRoute({ getParentRoute: under, path: '/executors', component: lazyRouteComponent(() => import('./pages/executors.js'), 'ExecutorsPage') });

export const router = createRouter({
  routeTree: root.addChildren([home, live, adapters, upload, adapter, playground, usage, keys, tenants, jobs, audit, executors]),
  basepath: '/console', defaultPreload: 'intent',
  defaultPendingComponent: () => <Page title="…"><Loading /></Page>,
  defaultErrorComponent: ({ error, reset }) => <Page title="Something broke"><Failure error={error} retry={reset} /></Page>,
});

declare module '@tanstack/react-router' {
  interface Register { router: typeof router }
}
