import { Injectable, Logger, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { toWeftError } from '@weft/contracts';
import { Database } from './database.js';

const SWEEP_MS = 10_000;
/** A gateway that was away shorter than this comes back with its closes. */
const GATEWAY_AWAY_S = 60;
/** An executor tells of a lost gateway's requests within seconds: what it has not told by then it never knew. */
const EXECUTOR_TELLS_S = 600;
/** Watchers read within a second, or start afresh. */
const OUTBOX_S = 3600;
const MEMBERS_S = 86_400;
/** For this long a repeated Idempotency-Key is the same upload. */
const IDEMPOTENCY_S = 86_400;

/** Closes what nobody will close any more, and removes what nobody will read. Several may sweep at once. */
@Injectable()
export class Sweeper implements OnModuleInit, OnModuleDestroy {
  #timer: NodeJS.Timeout | undefined;

  constructor(private readonly database: Database) {}

  onModuleInit(): void { this.#timer = setInterval(() => void this.#sweep(), SWEEP_MS); }
  onModuleDestroy(): void { clearInterval(this.#timer); }

  async sweep(): Promise<void> {
    await this.database.query({ text: LOSE, values: [GATEWAY_AWAY_S, EXECUTOR_TELLS_S] });
    await this.database.query({ text: PRUNE_OUTBOX, values: [OUTBOX_S] });
    await this.database.query({ text: PRUNE_MEMBERS, values: [MEMBERS_S] });
    await this.database.query({ text: PRUNE_IDEMPOTENCY, values: [IDEMPOTENCY_S] });
  }

  async #sweep(): Promise<void> {
    await this.sweep().catch(error => {
      if (toWeftError(error).code !== 'registry_lost') new Logger('Sweeper').error(error);
    });
  }
}

const age = (parameter: string): string => `now() - make_interval(secs => ${parameter})`;

// A gateway that no row names never joined, or left long ago. A later close still counts: see Ledger.
const LOSE = `
  update weft.usage u set status = 'lost', closed_at = now()
  where u.closed_at is null and u.opened_at < ${age('$1')}
    and not exists (select 1 from weft.members g where g.id = u.gateway_id and g.lease_until > ${age('$1')})
    and not exists (select 1 from weft.members e, weft.members g where e.id = u.executor_id and e.lease_until > now()
      and g.id = u.gateway_id and g.lease_until > ${age('$2')})`;
const PRUNE_OUTBOX = `delete from weft.outbox where created_at < ${age('$1')}`;
const PRUNE_MEMBERS = `delete from weft.members where lease_until < ${age('$1')}`;
const PRUNE_IDEMPOTENCY = `delete from weft.idempotency where created_at < ${age('$1')}`;
