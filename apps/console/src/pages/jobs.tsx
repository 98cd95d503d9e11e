import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { type ReactNode } from 'react';
import type { Job } from '../api/schema.js';
import { api, type List } from '../lib/api.js';
import { ago, duration, when } from '../lib/format.js';
import { useTenantNames } from '../lib/queries.js';
import { Button, Empty, Failure, Loading, Page, Status } from '../ui/parts.js';

const SHOWN = 200;

export function JobsPage(): ReactNode {
  const tenantName = useTenantNames();
  const jobs = useQuery({ queryKey: ['jobs'], refetchInterval: 2000, queryFn: async ({ signal }) => (await api<List<Job>>('/v1/jobs', { signal, query: { tenant: '*', limit: SHOWN } })).data });
  const queries = useQueryClient();
  const act = useMutation({
    mutationFn: ({ job, action }: { job: Job; action: 'retry' | 'cancel' }) => api(`/v1/jobs/${job.id}/${action}`, { method: 'POST', query: { tenant: tenantName(job.tenant_id) } }),
    onSettled: () => queries.invalidateQueries({ queryKey: ['jobs'] }),
  });
  return (
    <Page title="Ingestion" hint="Every upload is validated against its base, packed into pages and probed on an executor before anybody can name it.">
      {act.isError && <Failure error={act.error} />}
      {jobs.isPending ? <Loading /> : jobs.isError ? <Failure error={jobs.error} retry={() => void jobs.refetch()} /> : jobs.data.length === 0 ? <Empty title="Nothing was uploaded yet"><Link to="/upload">Upload an adapter</Link></Empty> : (
        <div className="table" tabIndex={0} role="region" aria-label="Ingestions">
          <table>
            <thead><tr><th scope="col">Adapter</th><th scope="col">State</th><th scope="col">Stage</th><th scope="col" className="number">Attempts</th><th scope="col">Begun</th><th scope="col">Took</th><th scope="col">Problem</th><th scope="col"><span className="unseen">Actions</span></th></tr></thead>
            <tbody>
              {jobs.data.map(job => (
                <tr key={job.id}>
                  <td><Link to="/adapters/$tenant/$name" params={{ tenant: tenantName(job.tenant_id), name: job.adapter }}><small>{tenantName(job.tenant_id)}/</small>{job.adapter}@{job.version}</Link></td>
                  <td><Status of={job.state} /></td><td>{job.stage ?? '–'}</td><td className="number">{job.attempts}</td>
                  <td title={when(job.created_at)}>{ago(job.created_at)}</td><td>{job.finished_at === null ? '–' : duration(1000 * (job.finished_at - job.created_at))}</td>
                  <td className="problem">{job.error ?? ''}</td>
                  <td className="number">
                    {(job.state === 'failed' || job.state === 'cancelled') && <Button kind="quiet" className="small" disabled={act.isPending} aria-label={`Retry ${job.adapter}@${job.version}`} onClick={() => act.mutate({ job, action: 'retry' })}>Retry</Button>}
                    {(job.state === 'waiting' || job.state === 'running') && <Button kind="quiet" className="small" disabled={act.isPending} aria-label={`Cancel ${job.adapter}@${job.version}`} onClick={() => act.mutate({ job, action: 'cancel' })}>Cancel</Button>}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Page>
  );
}
