/** The executor's end of its link with the registry: one Join stream, opened again whenever it ends. Requests never wait for it. */
import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { describeError, HEARTBEAT_MS, SILENCE_MS_MAX, toWeftError, type registryV1 } from '@weft/contracts';
import { EngineService } from './engine.service.js';
import { Preparations } from './preparations.js';
import { RegistryClient, type JoinStream } from './registry-client.js';
import { Terminals } from './terminals.js';
import { EXECUTOR_ID } from './tokens.js';

const REJOIN_MS = 200;
/** Ends of a message, and how long the registry has to take them before they are sent again. */
const ORPHANS_MAX = 1000;
const TAKEN_MS_MAX = 5000;

@Injectable()
export class RegistryLink implements OnModuleDestroy {
  readonly #executorId: string;
  readonly #registry: RegistryClient;
  readonly #engine: EngineService;
  readonly #preparations: Preparations;
  readonly #terminals: Terminals;
  #hello: registryV1.Hello | null = null;
  #log: (line: string) => void = () => undefined;
  #stream: JoinStream | null = null;
  #beganMs = 0;
  #heardMs = 0;
  #joined = false;
  /** When orphans were sent that are not taken yet; 0: none. */
  #orphansMs = 0;
  #beat: NodeJS.Timeout | undefined;
  #rejoin: NodeJS.Timeout | undefined;

  constructor(@Inject(EXECUTOR_ID) executorId: string, registry: RegistryClient, engine: EngineService, preparations: Preparations, terminals: Terminals) {
    this.#executorId = executorId;
    this.#registry = registry;
    this.#engine = engine;
    this.#preparations = preparations;
    this.#terminals = terminals;
  }

  /** Joins, and stays joined. `address`: where gateways reach this executor. */
  async start(address: string, log: (line: string) => void): Promise<void> {
    const { device, build } = await this.#engine.description();
    this.#hello = { executorId: this.#executorId, address, base: this.#engine.base, device, build };
    this.#log = log;
    this.#beat = setInterval(() => this.#onBeat(), HEARTBEAT_MS);
    this.#join();
  }

  onModuleDestroy(): void {
    clearInterval(this.#beat);
    clearTimeout(this.#rejoin);
    const stream = this.#stream;
    this.#stream = null;
    stream?.end();
    this.#preparations.cancelAll();
  }

  #join(): void {
    const stream = this.#registry.join();
    this.#stream = stream;
    this.#beganMs = performance.now();
    this.#heardMs = 0;
    stream.on('data', (down: registryV1.JoinDown) => { if (stream === this.#stream) this.#heard(down); });
    // A stream ends by an error or by end; a status follows either way.
    stream.on('error', () => undefined);
    stream.on('status', ({ details }) => { if (stream === this.#stream) this.#lose(details); });
    this.#send({ $case: 'hello', value: this.#hello! });
  }

  #heard({ body }: registryV1.JoinDown): void {
    this.#heardMs = performance.now();
    if (!this.#joined) this.#log('registry: joined');
    this.#joined = true;
    switch (body?.$case) {
      case 'prepare': {
        const stream = this.#stream;
        return this.#preparations.begin(body.value, report => { if (stream === this.#stream) this.#send(report); });
      }
      case 'cancel': return this.#preparations.cancel(body.value.taskId);
      case 'forget': return void this.#engine.forget(body.value.digest).catch((error: unknown) => this.#log(describeError(toWeftError(error))));
      case 'taken':
        this.#orphansMs = 0;
        this.#terminals.taken(body.value.ids);
        return this.#tellOrphans();
      case 'heartbeat':
      case undefined: return undefined;
    }
  }

  #send(body: NonNullable<registryV1.JoinUp['body']>): void { this.#stream?.write({ body }); }

  #onBeat(): void {
    if (this.#stream === null) return;
    // Until its first frame it has as long as a silent one.
    if (performance.now() - Math.max(this.#heardMs, this.#beganMs) > SILENCE_MS_MAX) {
      const stream = this.#stream;
      this.#lose('it is silent');
      return stream.cancel();
    }
    this.#send({ $case: 'heartbeat', value: {} });
    if (this.#heardMs > 0) this.#tellOrphans();
  }

  #tellOrphans(): void {
    if (this.#orphansMs > 0 && performance.now() - this.#orphansMs < TAKEN_MS_MAX) return;
    const orphans = this.#terminals.orphans(ORPHANS_MAX);
    const any = orphans.closes.length > 0;
    this.#orphansMs = any ? performance.now() : 0;
    if (any) this.#send({ $case: 'orphans', value: orphans });
  }

  /** What it was asked to do it will be asked again; the rest goes on without it. */
  #lose(why: string): void {
    this.#stream = null;
    this.#orphansMs = 0;
    this.#preparations.cancelAll();
    if (this.#joined) this.#log(`registry: lost (${why}); joining again`);
    this.#joined = false;
    this.#rejoin = setTimeout(() => this.#join(), REJOIN_MS);
  }
}
