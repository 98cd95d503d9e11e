/** Every test of the queue runs on both of its backends. */
import { Redis } from 'ioredis';
import type { TestContext } from 'vitest';

const REDIS_URL = process.env.WEFT_TEST_REDIS_URL ?? 'redis://127.0.0.1:6379';

export interface QueueBackend { name: string; variables: Record<string, string> }
export const BACKENDS: QueueBackend[] = [{ name: 'PostgreSQL', variables: {} }, { name: 'Redis', variables: { WEFT_REDIS_URL: REDIS_URL } }];

let answers: Promise<boolean> | undefined;

async function ping(): Promise<boolean> {
  const redis = new Redis(REDIS_URL, { lazyConnect: true, retryStrategy: () => null });
  redis.on('error', () => undefined);
  try {
    await redis.connect();
    return await redis.ping() === 'PONG';
  } catch {
    return false;
  } finally {
    redis.disconnect();
  }
}

export async function needBackend({ variables }: QueueBackend, context: TestContext): Promise<void> {
  if (variables.WEFT_REDIS_URL === undefined) return;
  answers ??= ping();
  if (!await answers) context.skip('needs Redis: WEFT_TEST_REDIS_URL names none that answers');
}

/** What a queue left in Redis. */
export async function dropQueue(prefix: string): Promise<void> {
  const redis = new Redis(REDIS_URL);
  const keys = await redis.keys(`${prefix}*`);
  if (keys.length > 0) await redis.del(keys);
  redis.disconnect();
}
