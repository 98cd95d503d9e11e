/** What each key may use: requests and tokens a minute, and requests at once. Each gateway counts for itself. */
import { Injectable } from '@nestjs/common';
import { WeftError } from '@weft/contracts';
import type { Principal } from './keys.js';
import { TokenBucket } from './token-bucket.js';

/** Tokens that a request takes before it runs. */
export interface Ask {
  /** Less is not enough. */
  tokensMin: number;
  /** Fewer will do if nobody asked for a number. */
  tokensMax: number;
}

/** Keys with limits whose use is remembered; those that have used nothing for a minute are forgotten first. */
const METERS_MAX = 10_000;
/** When one of the requests that run will end is not known. */
const PARALLEL_RETRY_MS = 1000;
const MINUTE_MS = 60_000;

/** One key's use. */
class Meter {
  requests: TokenBucket | null = null;
  tokens: TokenBucket | null = null;
  running = 0;
  usedMs = 0;

  /** Limits may have changed since. */
  adjust({ requestsPerMinute, tokensPerMinute }: Principal['limits'], nowMs: number): void {
    this.requests = resized(this.requests, requestsPerMinute, nowMs);
    this.tokens = resized(this.tokens, tokensPerMinute, nowMs);
    this.usedMs = nowMs;
  }
}

function resized(bucket: TokenBucket | null, perMinute: number, nowMs: number): TokenBucket | null {
  if (perMinute === 0) return null;
  if (bucket === null) return new TokenBucket(perMinute, nowMs);
  if (bucket.perMinute !== perMinute) bucket.resize(perMinute, nowMs);
  return bucket;
}

/** Held from a request's arrival to its end. */
export class Lease {
  /** Null for a key without limits: it costs nothing. */
  readonly #meter: Meter | null;
  readonly #parallel: number;
  readonly #onSettled: () => void;
  #admitted = false;
  #taken = 0;
  #settled = false;

  constructor(meter: Meter | null, parallel: number, onSettled: () => void) {
    this.#meter = meter;
    this.#parallel = parallel;
    this.#onSettled = onSettled;
  }

  /** One request more. Throws rate_limit_exceeded. */
  admit(): void {
    const meter = this.#meter;
    if (meter === null) return;
    if (this.#parallel > 0 && meter.running >= this.#parallel) throw exceeded('requests at once', this.#parallel, `${meter.running} are running`, PARALLEL_RETRY_MS);
    if (meter.requests !== null) {
      const nowMs = performance.now();
      if (meter.requests.level(nowMs) < 1) throw exceeded('requests per minute', meter.requests.perMinute, 'none is left', meter.requests.msUntil(1, nowMs));
      meter.requests.take(1);
    }
    meter.running++;
    this.#admitted = true;
  }

  /** Once it is known what the request may cost. Throws rate_limit_exceeded. */
  reserve({ tokensMin, tokensMax }: Ask): void {
    const tokens = this.#meter?.tokens;
    if (tokens == null) return;
    const nowMs = performance.now();
    const { perMinute } = tokens;
    if (tokensMin > perMinute) {
      throw new WeftError('rate_limit_exceeded', `This request may use ${tokensMin} tokens; this key's limit is ${perMinute} tokens per minute, so it can never run. Shorten the prompt or ask for fewer tokens.`, { final: true, limit: perMinute });
    }
    const level = tokens.level(nowMs);
    if (tokensMin > level) throw exceeded('tokens per minute', perMinute, `this request may use ${tokensMin}, and ${Math.max(0, Math.floor(level))} are left`, tokens.msUntil(tokensMin, nowMs));
    this.#taken = Math.min(tokensMax, Math.floor(level));
    tokens.take(this.#taken);
  }

  /** Gives the lease back and charges what was really used. */
  settle(usedTokens: number): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#onSettled();
    if (this.#meter === null || !this.#admitted) return;
    this.#meter.running--;
    this.#meter.tokens?.take(usedTokens - this.#taken);
  }

  /** As OpenAI's: what is left, and how long until all of it is there again. Null without limits. */
  headers(): Record<string, string> | null {
    if (this.#meter === null) return null;
    const nowMs = performance.now();
    return { ...bucketHeaders('requests', this.#meter.requests, nowMs), ...bucketHeaders('tokens', this.#meter.tokens, nowMs) };
  }
}

@Injectable()
export class Limits {
  readonly #meters = new Map<string, Meter>();
  #held = 0;

  get held(): number { return this.#held; }

  /** What it returns has to be settled. */
  acquire({ keyId, limits }: Pick<Principal, 'keyId' | 'limits'>): Lease {
    this.#held++;
    return new Lease(this.#meterOf(keyId, limits), limits.parallel, () => { this.#held--; });
  }

  #meterOf(keyId: string, limits: Principal['limits']): Meter | null {
    if (limits.requestsPerMinute === 0 && limits.tokensPerMinute === 0 && limits.parallel === 0) return null;
    let meter = this.#meters.get(keyId);
    if (meter === undefined) {
      meter = new Meter();
      this.#meters.set(keyId, meter);
      if (this.#meters.size > METERS_MAX) this.#forgetUnused();
    }
    meter.adjust(limits, performance.now());
    return meter;
  }

  /** Their buckets are full again. */
  #forgetUnused(): void {
    const beforeMs = performance.now() - MINUTE_MS;
    for (const [keyId, { running, usedMs }] of this.#meters) if (running === 0 && usedMs < beforeMs) this.#meters.delete(keyId);
  }
}

function exceeded(limit: string, value: number, why: string, retryAfterMs: number): WeftError {
  const seconds = Math.max(1, Math.ceil(retryAfterMs / 1000));
  return new WeftError('rate_limit_exceeded', `This key is limited to ${value} ${limit}: ${why}. Try again in ${seconds} s.`, { limit: value, retryAfterMs: Math.max(1, retryAfterMs) });
}

function bucketHeaders(name: 'requests' | 'tokens', bucket: TokenBucket | null, nowMs: number): Record<string, string> {
  if (bucket === null) return {};
  return {
    [`x-ratelimit-limit-${name}`]: String(bucket.perMinute),
    [`x-ratelimit-remaining-${name}`]: String(Math.max(0, Math.floor(bucket.level(nowMs)))),
    [`x-ratelimit-reset-${name}`]: duration(bucket.msUntil(bucket.perMinute, nowMs)),
  };
}

/** 120ms, 1s, 6m0s. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.ceil(ms)}ms`;
  const seconds = Math.ceil(ms / 1000);
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}
