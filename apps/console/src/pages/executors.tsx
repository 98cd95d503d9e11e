import { useQuery } from '@tanstack/react-query';
import { type ReactNode } from 'react';
import type { Executor } from '../api/schema.js';
import { bytes, compact, count, rate, shortDigest } from '../lib/format.js';
import { useExecutors } from '../lib/queries.js';
import { Empty, Failure, Loading, Page, Stat, Status, Tag } from '../ui/parts.js';

/** Answers with 503 too, and says why. */
const health = async (): Promise<string> => ((await (await fetch('/health')).json()) as { status: string }).status;

export function ExecutorsPage(): ReactNode {
  const executors = useExecutors(1000);
  const { data: status } = useQuery({ queryKey: ['health'], queryFn: health, refetchInterval: 2000 });
  return (
    <Page title="Executors" hint="Each holds the base once and runs what gateways send it. An adapter's requests meet where its pages are." actions={status !== undefined && (status === 'ok' ? <Status of="ok" /> : <Tag tone="bad">{status}</Tag>)}>
      {executors.isPending ? <Loading rows={5} /> : executors.isError ? <Failure error={executors.error} retry={() => void executors.refetch()} /> : executors.data.length === 0 ? <Empty title="No executor serves">Requests are refused with 503 until one joins. Its log says what keeps it.</Empty> : executors.data.map(one => <Card key={one.id} of={one} />)}
    </Page>
  );
}

function Card({ of }: { of: Executor }): ReactNode {
  const { pages } = of;
  const adapters = pages.owners.filter(({ owner }) => owner.startsWith('adapter:'));
  return (
    <section className="panel" aria-label={`Executor ${of.address}`}>
      <header><h2>{of.device}</h2>{of.draining ? <Tag tone="busy">draining</Tag> : <Tag tone="good"><i className="dot" aria-hidden="true" />serving</Tag>}</header>
      <dl className="stats">
        <Stat label="Tokens" value={rate(of.tokens_per_second)} unit="/s" /><Stat label="Running" value={of.running} /><Stat label="Waiting" value={of.waiting} />
        <Stat label="Pages in use" value={compact(pages.total - pages.free)} unit={`of ${compact(pages.total)}`} /><Stat label="Adapters on device" value={adapters.length} />
      </dl>
      <dl className="facts">
        <dt>Address</dt><dd className="mono">{of.address}</dd>
        <dt>Build</dt><dd>{of.build}</dd>
        <dt>Base</dt><dd className="mono">{shortDigest(of.base_digest)}</dd>
        <dt>Context</dt><dd>{count(of.max_model_len)} tokens</dd>
        <dt>Pool</dt><dd>{count(pages.total)} pages of {bytes(of.page_bytes)}: {bytes(pages.total * of.page_bytes)}</dd>
      </dl>
    </section>
  );
}
