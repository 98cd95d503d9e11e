import { timingSafeEqual } from 'node:crypto';
import { Metadata, Server, ServerCredentials, status, type handleUnaryCall, type ServerWritableStream } from '@grpc/grpc-js';
import { Inject, Injectable } from '@nestjs/common';
import { executorService, GATEWAY_METADATA, LINK_OPTIONS, TOKEN_METADATA, toWeftError, WeftError, executorV1 } from '@weft/contracts';
import type { Terminal, TokenEvent } from '@weft/engine';
import { Attachment, type AttachCall, type AttachmentHandler } from './attachment.js';
import { ColdStarts } from './cold-starts.js';
import type { ExecutorConfig } from './config.js';
import { EngineService, type EventSink } from './engine.service.js';
import { Terminals, type Origin } from './terminals.js';
import { EXECUTOR_CONFIG } from './tokens.js';
import { plainToken, refusal, toEvent, toTerminal } from './wire.js';

/** How often load is looked at. What requests are placed by is told when it has changed. */
const LOAD_MS = 100;
/** How often the rest of it is told: pages and rates change with every step. */
const LOAD_TOLD_MS = 1000;
/** How often those who watch are shown the engine, unless they say; and how often at most. */
const PICTURE_MS = 100;
const PICTURE_MS_MIN = 20;

type ObserveCall = ServerWritableStream<executorV1.ObserveRequest, executorV1.Picture>;

/** An attached gateway: where its requests' events go, and which of its requests run. */
class Peer implements EventSink {
  readonly running = new Map<string, Origin & { firstLane: number }>();
  constructor(readonly attachment: Attachment, readonly terminals: Terminals) {}

  onEvents(step: number, events: TokenEvent[]): void {
    const { outbox } = this.attachment;
    for (const event of events) {
      const lane = this.running.get(event.requestId)?.firstLane ?? 0, token = plainToken(event);
      if (lane > 0 && token !== undefined && outbox.token(step, lane + event.choice, token, event)) continue;
      outbox.event(step, toEvent(event));
    }
    this.attachment.flush();
  }

  onTerminal(terminal: Terminal): void {
    const origin = this.running.get(terminal.requestId)!;
    this.running.delete(terminal.requestId);
    this.end(toTerminal(terminal), origin);
  }

  end(terminal: executorV1.Terminal, origin: Origin): void {
    this.terminals.keep(this.attachment.gateway, terminal, origin);
    this.attachment.outbox.terminal(terminal);
    this.attachment.flush();
  }
}

/** The gRPC server: one Attach stream for each gateway. It listens while the model still loads; Welcome says that it serves. */
@Injectable()
export class LinkServer implements AttachmentHandler {
  readonly #config: ExecutorConfig;
  readonly #engine: EngineService;
  readonly #server = new Server(LINK_OPTIONS);
  readonly #peers = new Map<Attachment, Peer>();
  readonly #requests: ColdStarts;
  readonly #terminals: Terminals;
  /** As it was told last, and when the whole of it was looked at last. */
  #told = { placement: '', bytes: Buffer.alloc(0), lookedMs: 0 };
  #timer: NodeJS.Timeout | undefined;

  constructor(@Inject(EXECUTOR_CONFIG) config: ExecutorConfig, engine: EngineService, requests: ColdStarts, terminals: Terminals) {
    this.#config = config;
    this.#engine = engine;
    this.#requests = requests;
    this.#terminals = terminals;
    this.#server.addService(executorService, {
      attach: (call: AttachCall) => this.#attach(call),
      describe: ((call, reply) => {
        if (!this.#mayCall(call.metadata)) return reply(DENIED);
        this.#engine.description().then(description => reply(null, description), (error: Error) => reply({ code: status.INTERNAL, details: error.message }));
      }) satisfies handleUnaryCall<executorV1.DescribeRequest, executorV1.Description>,
      observe: (call: ObserveCall) => this.#observe(call),
    });
  }

  /** Resolves to host:port. Throws port_in_use. */
  async listen(): Promise<string> {
    const { listenHost, listenPort } = this.#config;
    const port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(`${listenHost}:${listenPort}`, ServerCredentials.createInsecure(), (cause, bound) => {
        if (cause === null) resolve(bound);
        else reject(new WeftError('port_in_use', `the executor can't listen on ${listenHost}:${listenPort}: ${cause.message}`, { cause }));
      });
    });
    this.#timer = setInterval(() => this.#tellLoad(), LOAD_MS);
    return `${listenHost}:${port}`;
  }

  /** Ends every stream. What still runs for them is cancelled. */
  close(): void {
    clearInterval(this.#timer);
    for (const attachment of [...this.#peers.keys()]) attachment.close();
    this.#server.forceShutdown();
  }

  onUp(attachment: Attachment, body: NonNullable<executorV1.Up['body']>): void {
    switch (body.$case) {
      case 'submit': return this.#submit(this.#peers.get(attachment)!, body.value);
      case 'cancel': return this.#cancel(this.#peers.get(attachment)!, body.value.requestId);
      case 'acknowledge': return this.#terminals.acknowledge(attachment.gateway, body.value.requestId);
      case 'drain': void this.#requests.drain(); return this.#tellLoad();
      case 'heartbeat': return undefined;
    }
  }

  onGone(attachment: Attachment): void {
    const peer = this.#peers.get(attachment);
    this.#peers.delete(attachment);
    const replaced = [...this.#peers.keys()].some(({ gateway }) => gateway === attachment.gateway);
    if (!replaced) this.#terminals.left(attachment.gateway);
    for (const id of peer?.running.keys() ?? []) this.#requests.cancel(id);
  }

  #attach(call: AttachCall): void {
    const gateway = String(call.metadata.get(GATEWAY_METADATA)[0] ?? '');
    if (!this.#mayCall(call.metadata) || gateway === '') {
      call.on('error', () => undefined);   // a refused peer that hangs up as well
      call.emit('error', DENIED);
      return;
    }
    // A gateway that comes back before its old stream was missed.
    for (const old of [...this.#peers.keys()]) if (old.gateway === gateway) old.close();
    const attachment = new Attachment(gateway, call, this);
    this.#peers.set(attachment, new Peer(attachment, this.#terminals));
    this.#terminals.attached(gateway);
    for (const terminal of this.#terminals.of(gateway)) attachment.outbox.terminal(terminal);
    void this.#engine.description().then(description => {
      attachment.outbox.welcome(description);
      const load = this.#load();
      if (load !== null) attachment.outbox.load(load);
      attachment.flush();
    });
  }

  #submit(peer: Peer, submit: executorV1.Submit): void {
    const { requestId, tenant, adapters: [adapter], baseDigest, firstLane } = submit;
    const origin = { tenant, digest: adapter?.digest ?? baseDigest, submittedMs: Date.now(), firstLane };
    // Known before it runs: its end may come at once.
    const known = peer.running.get(requestId);
    peer.running.set(requestId, known ?? origin);
    try {
      this.#requests.submit(submit, peer);
    } catch (error) {
      if (known === undefined) peer.running.delete(requestId);
      peer.end(refusal(requestId, toWeftError(error)), origin);
    }
  }

  /** One that reads slowly misses pictures, and gets the latest when it has read. */
  #observe(call: ObserveCall): void {
    call.on('error', () => undefined);
    if (!this.#mayCall(call.metadata)) {
      call.emit('error', DENIED);
      return;
    }
    let writable = true;
    call.on('drain', () => { writable = true; });
    const show = (): void => {
      const picture = writable ? this.#engine.picture() : null;
      if (picture !== null) writable = call.write(picture);
    };
    const timer = setInterval(show, Math.max(call.request.intervalMs || PICTURE_MS, PICTURE_MS_MIN));
    for (const ending of ['cancelled', 'close', 'error']) call.on(ending, () => clearInterval(timer));
    show();
  }

  /** A gateway ends its own requests only. */
  #cancel(peer: Peer, requestId: string): void {
    if (peer.running.has(requestId)) this.#requests.cancel(requestId);
  }

  #load(): executorV1.Load | null {
    const load = this.#engine.load();
    return load && { ...load, draining: this.#requests.draining, ...this.#terminals.totals };
  }

  #tellLoad(): void {
    const load = this.#load();
    if (load === null) return;
    const placement = `${load.waiting} ${load.running} ${load.draining} ${load.submits}`, now = performance.now();
    if (placement === this.#told.placement && now - this.#told.lookedMs < LOAD_TOLD_MS) return;
    const { bytes: before } = this.#told, bytes = Buffer.from(executorV1.Load.encode(load).finish());
    this.#told = { placement, bytes, lookedMs: now };
    if (bytes.equals(before)) return;
    for (const attachment of this.#peers.keys()) {
      attachment.outbox.load(load);
      attachment.flush();
    }
  }

  #mayCall(metadata: Metadata): boolean {
    const shown = Buffer.from(String(metadata.get(TOKEN_METADATA)[0] ?? ''));
    const expected = Buffer.from(`Bearer ${this.#config.linkToken}`);
    return shown.length === expected.length && timingSafeEqual(shown, expected);
  }
}

const DENIED = { code: status.UNAUTHENTICATED, details: 'this call needs the token of this start and a gateway id' };
