/** What Prometheus reads. The vllm: names mean here what they mean there, so that dashboards and routers work as they are. */
import { Inject, Injectable } from '@nestjs/common';
import type { executorV1 } from '@weft/contracts';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { GatewayConfig } from './config.js';
import { Fleet } from './fleet.js';
import type { Outcome } from './generation.js';
import { InFlight } from './in-flight.js';
import { Ledger } from './ledger.js';
import { Limits } from './limits.js';
import { RegistryWatch } from './registry-watch.js';
import { GATEWAY_CONFIG } from './tokens.js';

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

/** One request's times, from the moment it was accepted (ms of performance.now()). */
export interface RequestTimes { acceptedMs: number; firstTokenMs: number | null; endMs: number }

@Injectable()
export class Metrics {
  readonly #registry = new Registry();
  readonly #fleet: Fleet;
  readonly #watch: RegistryWatch;
  readonly #inFlight: InFlight;
  readonly #limits: Limits;
  readonly #ledger: Ledger;
  /** Requests by adapter name: how many wait for their first token, and how many have it. */
  readonly #adapters = new Map<string, { waiting: number; running: number }>();
  readonly #model: string;

  readonly #requests = this.#counter('weft_requests_total', 'Requests by how they ended', ['route', 'code']);
  readonly #promptTokens = this.#counter('vllm:prompt_tokens_total', 'Prompt tokens of answered requests', ['model_name']);
  readonly #generatedTokens = this.#counter('vllm:generation_tokens_total', 'Tokens generated', ['model_name']);
  readonly #cacheQueries = this.#counter('vllm:prefix_cache_queries_total', 'Prompt tokens that were looked up in the prefix cache', ['model_name']);
  readonly #cacheHits = this.#counter('vllm:prefix_cache_hits_total', 'Prompt tokens that the prefix cache had', ['model_name']);
  readonly #firstToken = this.#histogram('vllm:time_to_first_token_seconds', 'From acceptance to the first token', ['model_name']);
  readonly #interToken = this.#histogram('vllm:inter_token_latency_seconds', 'Between tokens, as the mean of a request', ['model_name']);
  readonly #endToEnd = this.#histogram('vllm:e2e_request_latency_seconds', 'From acceptance to the end', ['model_name']);
  readonly #otelDuration = this.#histogram('gen_ai_server_request_duration_seconds', 'gen_ai.server.request.duration', ['gen_ai_operation_name']);
  readonly #otelFirstToken = this.#histogram('gen_ai_server_time_to_first_token_seconds', 'gen_ai.server.time_to_first_token', ['gen_ai_operation_name']);
  readonly #otelPerToken = this.#histogram('gen_ai_server_time_per_output_token_seconds', 'gen_ai.server.time_per_output_token', ['gen_ai_operation_name']);

  constructor(
    @Inject(GATEWAY_CONFIG) { modelName }: Pick<GatewayConfig, 'modelName'>, fleet: Fleet, watch: RegistryWatch, inFlight: InFlight, limits: Limits, ledger: Ledger,
  ) {
    this.#model = modelName;
    this.#fleet = fleet;
    this.#watch = watch;
    this.#inFlight = inFlight;
    this.#limits = limits;
    this.#ledger = ledger;
    collectDefaultMetrics({ register: this.#registry });
    this.#registerGauges();
  }

  get contentType(): string { return this.#registry.contentType; }
  text(): Promise<string> { return this.#registry.metrics(); }

  /** A request waits for its first token. Call what is returned at the first token, and at the end. */
  track(adapter: string | null): { firstToken(): void; end(): void } {
    if (adapter === null) return { firstToken: () => undefined, end: () => undefined };
    const counts = this.#adapters.get(adapter) ?? { waiting: 0, running: 0 };
    this.#adapters.set(adapter, counts);
    let state: 'waiting' | 'running' = 'waiting';
    counts.waiting++;
    return {
      firstToken: () => {
        if (state === 'running') return;
        state = 'running';
        counts.waiting--;
        counts.running++;
      },
      end: () => {
        counts[state]--;
        if (counts.waiting + counts.running === 0) this.#adapters.delete(adapter);
      },
    };
  }

  /** `code`: an error's, or "ok". */
  finished(route: 'completions' | 'chat', code: string, outcome: Outcome, { acceptedMs, firstTokenMs, endMs }: RequestTimes): void {
    const model = { model_name: this.#model };
    const operation = { gen_ai_operation_name: route === 'chat' ? 'chat' : 'text_completion' };
    const seconds = (endMs - acceptedMs) / 1000;
    this.#requests.inc({ route, code });
    this.#generatedTokens.inc(model, outcome.generatedTokens);
    this.#endToEnd.observe(model, seconds);
    this.#otelDuration.observe(operation, seconds);
    if (code === 'ok') {
      this.#promptTokens.inc(model, outcome.promptTokens);
      this.#cacheQueries.inc(model, outcome.promptTokens);
      this.#cacheHits.inc(model, outcome.cachedTokens);
    }
    if (firstTokenMs === null) return;
    this.#firstToken.observe(model, (firstTokenMs - acceptedMs) / 1000);
    this.#otelFirstToken.observe(operation, (firstTokenMs - acceptedMs) / 1000);
    if (outcome.completionTokens < 2) return;
    const perToken = (endMs - firstTokenMs) / 1000 / (outcome.completionTokens - 1);
    this.#interToken.observe(model, perToken);
    this.#otelPerToken.observe(operation, perToken);
  }

  #registerGauges(): void {
    const sum = (value: (load: executorV1.Load) => number) => (): number => this.#loads().reduce((total, load) => total + value(load), 0);
    const pagesOf = (wanted: string) => ({ owners }: executorV1.Load): number => owners.find(({ owner }) => owner === wanted)?.pages ?? 0;
    const pagesTotal = sum(load => load.pagesTotal);
    this.#gauge('vllm:num_requests_running', 'Sequences that run in the executors', sum(({ running }) => running), true);
    this.#gauge('vllm:num_requests_waiting', 'Sequences that wait in the executors', sum(({ waiting }) => waiting), true);
    this.#gauge('vllm:kv_cache_usage_perc', 'Share of the pools that KV holds, 0 to 1', () => sum(pagesOf('kv'))() / Math.max(pagesTotal(), 1), true);
    this.#gauge('weft_pool_pages', 'Pages of the pools', pagesTotal);
    this.#gauge('weft_pool_pages_free', 'Pages that nobody owns', sum(({ pagesFree }) => pagesFree));
    this.#gauge('weft_adapters_resident', 'Adapters on a device', () => this.#residentAdapters());
    this.#gauge('weft_tokens_per_second', 'Tokens that the executors generate', sum(({ tokensPerSecond }) => tokensPerSecond));
    this.#gauge('weft_executor_up', 'Executors that serve', () => this.#descriptions().length);
    this.#gauge('weft_registry_up', '1 while the registry\'s changes are heard', () => Number(this.#watch.fresh));
    this.#gauge('weft_requests_in_flight', 'Requests that are being answered', () => this.#inFlight.count);
    this.#gauge('weft_leases_held', 'Requests that hold a lease of their limits', () => this.#limits.held);
    this.#gauge('weft_ledger_open', 'Requests whose usage is not closed', () => this.#ledger.counts.open);
    this.#gauge('weft_ledger_waiting', 'Rows of usage that wait to be written', () => this.#ledger.counts.waiting);
    this.#gauge('weft_ledger_closed', 'Requests whose usage is closed', () => this.#ledger.counts.closed);
    const adapters = this.#adapters;
    const slots = (): number => this.#descriptions().reduce((total, { adapterSlots }) => total + adapterSlots, 0);
    this.#registry.registerMetric(new Gauge({
      name: 'vllm:lora_requests_info', help: 'Adapters with requests that run or wait; the value is the time', registers: [],
      labelNames: ['max_lora', 'running_lora_adapters', 'waiting_lora_adapters'],
      collect() {
        const named = (state: 'running' | 'waiting'): string => [...adapters].filter(([, counts]) => counts[state] > 0).map(([name]) => name).join(',');
        this.reset();
        this.set({ max_lora: String(slots()), running_lora_adapters: named('running'), waiting_lora_adapters: named('waiting') }, Date.now() / 1000);
      },
    }));
  }

  #loads(): executorV1.Load[] { return [...this.#fleet.links].flatMap(({ load }) => load ?? []); }
  #descriptions(): executorV1.Description[] { return [...this.#fleet.links].flatMap(({ description }) => description ?? []); }

  #residentAdapters(): number {
    const owners = this.#loads().flatMap(load => load.owners.map(({ owner }) => owner));
    return new Set(owners.filter(owner => owner.startsWith('adapter:'))).size;
  }

  #gauge(name: string, help: string, value: () => number, ofModel = false): void {
    const labels = ofModel ? { model_name: this.#model } : {};
    this.#registry.registerMetric(new Gauge({ name, help, registers: [], labelNames: Object.keys(labels), collect() { this.set(labels, value()); } }));
  }

  #counter<T extends string>(name: string, help: string, labelNames: T[]): Counter<T> {
    return new Counter({ name, help, labelNames, registers: [this.#registry] });
  }

  #histogram<T extends string>(name: string, help: string, labelNames: T[]): Histogram<T> {
    return new Histogram({ name, help, labelNames, buckets: SECONDS, registers: [this.#registry] });
  }
}
