/** The gateway's ear at the registry: one Watch stream, opened again whenever it ends. */
import type { ClientReadableStream } from '@grpc/grpc-js';
import { Inject, Injectable, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { HEARTBEAT_MS, SILENCE_MS_MAX, type registryV1 } from '@weft/contracts';
import { RegistryClient } from './registry-client.js';
import { GATEWAY_ID } from './tokens.js';

/** Two heartbeats may be late by half a second before what is cached counts as old. */
const FRESH_MS = 2.5 * HEARTBEAT_MS;
const RECONNECT_MS = 200;

@Injectable()
export class RegistryWatch implements OnModuleInit, OnModuleDestroy {
  readonly #registry: RegistryClient;
  readonly #gatewayId: string;
  readonly #onRoster: ((executors: registryV1.ExecutorMember[]) => void)[] = [];
  readonly #onChange: ((change: registryV1.Change) => void)[] = [];
  #stream: ClientReadableStream<registryV1.WatchEvent> | null = null;
  /** When this stream was opened, brought its first event, and its last. */
  #openedMs = 0;
  #sinceMs = Infinity;
  #heardMs = -Infinity;
  #reached = false;
  #closed = false;
  #timer: NodeJS.Timeout | undefined;
  #reconnect: NodeJS.Timeout | undefined;

  constructor(registry: RegistryClient, @Inject(GATEWAY_ID) gatewayId: string) {
    this.#registry = registry;
    this.#gatewayId = gatewayId;
  }

  /** Changes are heard: what was asked since `sinceMs` and has not been called out is still true. */
  get fresh(): boolean { return performance.now() - this.#heardMs < FRESH_MS; }
  /** From when on no change was missed (ms of performance.now()). */
  get sinceMs(): number { return this.#sinceMs; }
  /** The registry has been heard since this process started. */
  get reached(): boolean { return this.#reached; }

  onRoster(listener: (executors: registryV1.ExecutorMember[]) => void): void { this.#onRoster.push(listener); }
  onChange(listener: (change: registryV1.Change) => void): void { this.#onChange.push(listener); }

  onModuleInit(): void {
    this.#timer = setInterval(() => this.#checkSilence(), HEARTBEAT_MS);
    this.#open();
  }

  onModuleDestroy(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#reconnect);
    this.#stream?.cancel();
  }

  #open(): void {
    const stream = this.#stream = this.#registry.watch({ gatewayId: this.#gatewayId });
    this.#openedMs = performance.now();
    stream.on('data', (event: registryV1.WatchEvent) => { if (stream === this.#stream) this.#heard(event); });
    // A stream ends by an error or by end; a status follows either way.
    stream.on('error', () => undefined);
    stream.on('status', () => { if (stream === this.#stream) this.#lose(); });
  }

  #heard({ body }: registryV1.WatchEvent): void {
    this.#heardMs = performance.now();
    if (this.#sinceMs === Infinity) this.#sinceMs = this.#heardMs;
    this.#reached = true;
    if (body?.$case === 'roster') for (const listener of this.#onRoster) listener(body.value.executors);
    if (body?.$case === 'change') for (const listener of this.#onChange) listener(body.value);
  }

  #checkSilence(): void {
    const stream = this.#stream;
    if (stream === null || performance.now() - Math.max(this.#heardMs, this.#openedMs) < SILENCE_MS_MAX) return;
    this.#lose();
    stream.cancel();
  }

  #lose(): void {
    this.#stream = null;
    this.#sinceMs = Infinity;
    this.#heardMs = -Infinity;
    if (!this.#closed) this.#reconnect = setTimeout(() => this.#open(), RECONNECT_MS);
  }
}
