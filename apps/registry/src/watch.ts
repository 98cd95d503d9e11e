import type { ServerWritableStream } from '@grpc/grpc-js';
import { Inject, Injectable, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { HEARTBEAT_MS, registryV1, SILENCE_MS_MAX, WeftError } from '@weft/contracts';
import { ChangeReader, type ChangeListener } from './change-reader.js';
import type { RegistryConfig } from './config.js';
import { Members } from './members.js';
import { REGISTRY_CONFIG } from './tokens.js';
import { fail, toServiceError } from './wire.js';

export type WatchCall = ServerWritableStream<registryV1.WatchRequest, registryV1.WatchEvent>;

/** A heartbeat says that all changes until a second ago were told. */
const AGE_MS_MAX = 1000;

/**
 * One stream for each gateway. While it flows, changes are told within a second; when the database is away all streams end,
 * so that gateways know at once that they are not told.
 */
@Injectable()
export class Watch implements OnApplicationBootstrap, OnModuleDestroy, ChangeListener {
  readonly #members: Members;
  readonly #reader: ChangeReader;
  readonly #watchers = new Set<Watcher>();
  #timer: NodeJS.Timeout | undefined;

  constructor(@Inject(REGISTRY_CONFIG) { databaseUrl }: Pick<RegistryConfig, 'databaseUrl'>, members: Members) {
    this.#members = members;
    this.#reader = new ChangeReader(databaseUrl, this);
  }

  async onApplicationBootstrap(): Promise<void> {
    await this.#reader.start();
    this.#timer = setInterval(() => this.#beat(), HEARTBEAT_MS);
  }

  async onModuleDestroy(): Promise<void> {
    clearInterval(this.#timer);
    this.close();
    await this.#reader.stop();
  }

  /** Throws invalid_value, registry_lost. */
  async watch(call: WatchCall): Promise<void> {
    const { gatewayId } = call.request;
    if (gatewayId === '') throw new WeftError('invalid_value', 'gateway_id is empty', { param: 'gateway_id' });
    if (this.#reader.ageMs > AGE_MS_MAX) throw AWAY;
    const leave = await this.#members.join(gatewayId, { role: 'gateway', address: '', info: {} });
    const watcher = new Watcher(call, () => {
      this.#watchers.delete(watcher);
      void leave();
    });
    if (call.cancelled) return watcher.gone();
    this.#watchers.add(watcher);
    watcher.roster(this.#reader.roster);
    // What the gateway has cached may have changed while nobody told it.
    for (const kind of [registryV1.ChangeKind.CATALOG, registryV1.ChangeKind.KEYS]) watcher.send({ $case: 'change', value: { id: 0n, tenantId: '', kind } });
  }

  /** Ends every stream: gateways look for another registry. */
  close(): void { this.#endAll(new WeftError('draining', 'the registry stops')); }

  onChanges(changes: registryV1.Change[]): void {
    for (const watcher of this.#watchers) for (const value of changes) watcher.send({ $case: 'change', value });
  }

  onRoster(executors: registryV1.ExecutorMember[]): void {
    for (const watcher of this.#watchers) watcher.roster(executors);
  }

  onLost(): void { this.#endAll(AWAY); }

  #endAll(error: WeftError): void {
    for (const watcher of [...this.#watchers]) watcher.end(error);
  }

  #beat(): void {
    if (this.#reader.ageMs > AGE_MS_MAX) return;
    for (const watcher of this.#watchers) watcher.beat();
  }
}

const AWAY = new WeftError('registry_lost', 'the registry does not reach its database at the moment; try again', { retryAfterMs: 1000 });

class Watcher {
  #fullSinceMs: number | null = null;
  #ended = false;

  /** @param onGone exactly once, whatever ended the stream */
  constructor(readonly call: WatchCall, readonly onGone: () => void) {
    call.on('drain', () => { this.#fullSinceMs = null; });
    for (const ending of ['cancelled', 'error', 'close', 'finish']) call.on(ending, () => this.gone());
  }

  send(body: NonNullable<registryV1.WatchEvent['body']>): void {
    if (!this.#ended && !this.call.write({ body })) this.#fullSinceMs ??= performance.now();
  }

  roster(executors: readonly registryV1.ExecutorMember[]): void { this.send({ $case: 'roster', value: { executors: [...executors] } }); }

  /** A gateway that does not read for as long as a dead one's silence is one: what waits for it must not grow. */
  beat(): void {
    if (this.#fullSinceMs !== null && performance.now() - this.#fullSinceMs > SILENCE_MS_MAX) return this.end(new WeftError('cancelled', 'the gateway does not read'));
    this.send({ $case: 'heartbeat', value: {} });
  }

  end(error: WeftError): void {
    if (this.#ended) return;
    fail(this.call, toServiceError(error));
    this.gone();
  }

  gone(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.onGone();
  }
}
