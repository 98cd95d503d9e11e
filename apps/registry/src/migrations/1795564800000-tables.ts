import type { MigrationInterface, QueryRunner } from 'typeorm';

// Whose rows a transaction sees. Sub-selects are evaluated once a statement, not once a row, and those that read shares
// only when a row is not the tenant's own.
const TENANT = `(select nullif(nullif(current_setting('weft.tenant', true), ''), '*')::uuid)`;
const ALL = `(select current_setting('weft.tenant', true) = '*')`;
const SHARED_ADAPTERS = `array(select adapter_id from weft.shares where with_tenant_id = ${TENANT})`;
const SHARING_TENANTS = `array(
  select tenant_id from weft.shares where with_tenant_id = ${TENANT} union all select with_tenant_id from weft.shares where tenant_id = ${TENANT})`;

/** Tables whose rows are one tenant's: the column that says whose, and which rows of others it reads too. */
const OWNED: Record<string, { owner: string; readable?: string }> = {
  api_keys: { owner: 'tenant_id' }, idempotency: { owner: 'tenant_id' }, usage: { owner: 'tenant_id' }, audit: { owner: 'tenant_id' },
  shares: { owner: 'tenant_id', readable: `with_tenant_id = ${TENANT}` },
  // A tenant with whom an adapter is shared reads what it needs to name it, and both read each other's names.
  adapters: { owner: 'tenant_id', readable: `id = any(${SHARED_ADAPTERS})` },
  versions: { owner: 'tenant_id', readable: `status = 'ready' and adapter_id = any(${SHARED_ADAPTERS})` },
  aliases: { owner: 'tenant_id', readable: `adapter_id = any(${SHARED_ADAPTERS})` },
  tenants: { owner: 'id', readable: `id = any(${SHARING_TENANTS})` },
};

export class Tables1795564800000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(TABLES);
    await runner.query(OUTBOX);
    for (const [table, { owner, readable }] of Object.entries(OWNED)) {
      const own = `${owner} = ${TENANT} or ${ALL}`;
      await runner.query(`
        alter table weft.${table} enable row level security;
        alter table weft.${table} force row level security;
        create policy ${table}_read on weft.${table} for select using (${readable === undefined ? own : `${own} or (${readable})`});
        create policy ${table}_insert on weft.${table} for insert with check (${own});
        create policy ${table}_update on weft.${table} for update using (${own});
        create policy ${table}_delete on weft.${table} for delete using (${own})`);
    }
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop table weft.members, weft.audit, weft.outbox, weft.usage, weft.idempotency, weft.artifacts, weft.shares, weft.aliases,
        weft.versions, weft.adapters, weft.bases, weft.api_keys, weft.tenants;
      drop function weft.outbox_insert`);
  }
}

const TABLES = `
create table weft.tenants (
  id uuid primary key default gen_random_uuid(),
  name text not null,
  created_at timestamptz not null default now(),
  deleted_at timestamptz
);
create unique index tenants_name on weft.tenants (lower(name)) where deleted_at is null;

create table weft.api_keys (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null constraint api_keys_tenant_fk references weft.tenants,
  name text not null,
  hash bytea not null,
  hint text not null,
  scopes text[] not null,
  requests_per_minute int not null default 0,
  tokens_per_minute int not null default 0,
  parallel int not null default 0,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz
);
create unique index api_keys_hash on weft.api_keys (hash);
create index api_keys_tenant on weft.api_keys (tenant_id, created_at);

create table weft.bases (
  digest text primary key,
  name text not null,
  geometry jsonb not null,
  text jsonb not null,
  updated_at timestamptz not null default now()
);

create table weft.adapters (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null constraint adapters_tenant_fk references weft.tenants,
  name text not null,
  description text not null default '',
  created_at timestamptz not null default now(),
  deleted_at timestamptz
);
create unique index adapters_name on weft.adapters (tenant_id, lower(name)) where deleted_at is null;

create table weft.versions (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null constraint versions_tenant_fk references weft.tenants,
  adapter_id uuid not null constraint versions_adapter_fk references weft.adapters,
  version int not null,
  digest text not null,
  base_digest text not null,
  base text not null,
  files jsonb not null,
  kind text not null default '',
  rank int not null default 0,
  target_modules text[] not null default '{}',
  bytes bigint not null,
  status text not null default 'validating',
  stage text not null default 'queued',
  errors jsonb not null default '[]',
  warnings jsonb not null default '[]',
  ignored jsonb not null default '[]',
  effect real not null default 0,
  alias_when_ready text,
  attempts int not null default 0,
  created_at timestamptz not null default now(),
  ready_at timestamptz,
  finished_at timestamptz,
  deleted_at timestamptz,
  constraint versions_number unique (adapter_id, version),
  constraint versions_status check (status in ('validating', 'ready', 'failed', 'deleted'))
);
create index versions_digest on weft.versions (digest);
create index versions_tenant on weft.versions (tenant_id, created_at);
create index versions_validating on weft.versions (created_at) where status = 'validating';

create table weft.aliases (
  adapter_id uuid not null constraint aliases_adapter_fk references weft.adapters,
  alias text not null,
  tenant_id uuid not null constraint aliases_tenant_fk references weft.tenants,
  version int not null,
  weight int not null default 100,
  revision bigint not null default 1,
  updated_at timestamptz not null default now(),
  primary key (adapter_id, alias)
);

create table weft.shares (
  adapter_id uuid not null constraint shares_adapter_fk references weft.adapters,
  with_tenant_id uuid not null constraint shares_with_fk references weft.tenants,
  tenant_id uuid not null constraint shares_tenant_fk references weft.tenants,
  primary key (adapter_id, with_tenant_id)
);
create index shares_with on weft.shares (with_tenant_id);

create table weft.artifacts (
  sha256 text primary key,
  bytes bigint not null,
  created_at timestamptz not null default now()
);

create table weft.idempotency (
  tenant_id uuid not null constraint idempotency_tenant_fk references weft.tenants,
  key text not null,
  request_hash text not null,
  version_id uuid not null constraint idempotency_version_fk references weft.versions,
  created_at timestamptz not null default now(),
  primary key (tenant_id, key)
);

create table weft.usage (
  id text primary key,
  request_id text not null,
  tenant_id uuid not null,
  key_id text not null,
  route text not null,
  model text not null,
  adapter text not null,
  version int not null,
  digest text not null,
  gateway_id text not null,
  executor_id text not null,
  opened_at timestamptz not null,
  closed_at timestamptz,
  status text not null default '',
  prompt_tokens int not null default 0,
  cached_tokens int not null default 0,
  generated_tokens int not null default 0,
  billed_tokens int not null default 0,
  queue_ms real not null default 0,
  cold_start_ms real not null default 0
);
create index usage_tenant on weft.usage (tenant_id, opened_at);
create index usage_opened on weft.usage (opened_at);
create index usage_open on weft.usage (opened_at) where closed_at is null;

create table weft.audit (
  id bigint primary key generated always as identity,
  tenant_id uuid not null,
  key_id text not null,
  request_id text not null,
  action text not null,
  subject text not null,
  details jsonb not null default '{}',
  at timestamptz not null default now()
);
create index audit_tenant on weft.audit (tenant_id, id);

create table weft.members (
  id text primary key,
  role text not null,
  address text not null default '',
  info jsonb not null default '{}',
  holder text not null,
  lease_until timestamptz not null,
  constraint members_role check (role in ('gateway', 'executor'))
);
`;

// Readers remember the last id that they saw, so ids must become visible in their order: the lock holds until the commit.
// A notification only wakes readers; the rows are what counts.
const OUTBOX = `
create table weft.outbox (
  id bigint primary key,
  tenant_id uuid,
  kind text not null,
  payload jsonb not null default '{}',
  created_at timestamptz not null default now()
);
create index outbox_created on weft.outbox (created_at);
create sequence weft.outbox_id owned by weft.outbox.id;
create function weft.outbox_insert() returns trigger language plpgsql as $$
begin
  perform pg_advisory_xact_lock(hashtext('weft.outbox'));
  new.id := nextval('weft.outbox_id');
  notify weft_outbox;
  return new;
end $$;
create trigger outbox_insert before insert on weft.outbox for each row execute function weft.outbox_insert();
`;
