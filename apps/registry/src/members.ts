import { randomUUID } from 'node:crypto';
import { Injectable, Logger, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { HEARTBEAT_MS, SILENCE_MS_MAX, WeftError } from '@weft/contracts';
import { Database } from './database.js';
import type { Member } from './entities/index.js';

/** A lease outlives a stream's longest silence by one renewal. */
export const LEASE_MS = SILENCE_MS_MAX + HEARTBEAT_MS;

export type MemberInfo = Pick<Member, 'role' | 'address' | 'info'>;

/** Who lives, of all registries of the database. Those whose stream ends here have their leases renewed here. */
@Injectable()
export class Members implements OnModuleInit, OnModuleDestroy {
  readonly #database: Database;
  readonly #holder = randomUUID();
  readonly #own = new Map<string, MemberInfo>();
  #timer: NodeJS.Timeout | undefined;
  #renewal: Promise<void> | null = null;

  constructor(database: Database) { this.#database = database; }

  onModuleInit(): void { this.#timer = setInterval(() => this.#renew(), HEARTBEAT_MS); }
  onModuleDestroy(): void { clearInterval(this.#timer); }

  /** The lease holds until the returned function is called, or 5 s beyond the end of this process. Throws registry_lost. */
  async join(id: string, member: MemberInfo): Promise<() => Promise<void>> {
    this.#own.set(id, member);
    await this.#write([[id, member]], TAKE).catch((error: unknown) => {
      this.#own.delete(id);
      throw error;
    });
    return () => this.#leave(id, member);
  }

  /** One that joined again meanwhile, here or at another registry, stays. */
  async #leave(id: string, member: MemberInfo): Promise<void> {
    if (this.#own.get(id) !== member) return;
    this.#own.delete(id);
    await this.#renewal;   // one that is under way still names it, and would bring it back
    await this.#database.query({ text: `with gone as (update weft.members set lease_until = now() where id = $1 and holder = $2) select pg_notify('weft_outbox', '')`, values: [id, this.#holder] })
      .catch(onlyLost);   // then the lease runs out by itself
  }

  #renew(): void {
    if (this.#renewal !== null || this.#own.size === 0) return;
    this.#renewal = this.#write([...this.#own], RENEW).catch(onlyLost).finally(() => { this.#renewal = null; });
  }

  async #write(members: [string, MemberInfo][], text: string): Promise<void> {
    members.sort(([a], [b]) => (a < b ? -1 : 1));   // two writers lock rows in one order
    const column = (property: keyof MemberInfo): string[] => members.map(([, member]) => property === 'info' ? JSON.stringify(member.info) : member[property]);
    await this.#database.query({ text, values: [members.map(([id]) => id), column('role'), column('address'), column('info'), this.#holder, LEASE_MS / 1000] });
  }
}

const WRITE = `
  insert into weft.members (id, role, address, info, holder, lease_until)
  select id, role, address, info::jsonb, $5, now() + make_interval(secs => $6) from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as m(id, role, address, info)
  on conflict (id) do update set lease_until = excluded.lease_until`;
/** Somebody's who has joined elsewhere is left to them. */
const RENEW = `${WRITE} where members.holder = excluded.holder`;
const TAKE = `with taken as (${WRITE}, role = excluded.role, address = excluded.address, info = excluded.info, holder = excluded.holder) select pg_notify('weft_outbox', '')`;

function onlyLost(error: unknown): void {
  if (!(error instanceof WeftError) || error.code !== 'registry_lost') new Logger('Members').error(error);
}
