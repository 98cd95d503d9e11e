/** A server that speaks S3 (moto), with a bucket in it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import type { TestContext } from 'vitest';
import { freePort } from '../../../apps/cli/src/free-port.js';

const PROGRAM = process.env.WEFT_TEST_S3_SERVER ?? 'moto_server';
const START_MS_MAX = 60_000;
export const BUCKET = 'weft-artifacts';

export class S3Server {
  private constructor(readonly endpoint: string, readonly child: ChildProcess) {}

  /** Null where the program is not there. Throws when it is there and does not serve. */
  static async start(): Promise<S3Server | null> {
    const port = await freePort();
    const child = spawn(PROGRAM, ['-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' });
    const ended = Promise.race([once(child, 'error').then(([error]) => error as NodeJS.ErrnoException), once(child, 'exit').then(([code]) => new Error(`${PROGRAM} ended with code ${code}`))]);
    let over: NodeJS.ErrnoException | undefined;
    void ended.then(error => { over = error; });
    const server = new S3Server(`http://127.0.0.1:${port}`, child);
    for (const until = performance.now() + START_MS_MAX; performance.now() < until && over === undefined; await sleep(50)) {
      if (!await fetch(server.endpoint).then(({ ok }) => ok, () => false)) continue;
      await server.client().send(new CreateBucketCommand({ Bucket: BUCKET }));
      return server;
    }
    if (over?.code === 'ENOENT') return null;
    child.kill('SIGKILL');
    throw over ?? new Error(`${PROGRAM} did not serve within ${START_MS_MAX} ms`);
  }

  get variables(): Record<string, string> {
    return { WEFT_S3_BUCKET: BUCKET, WEFT_S3_ENDPOINT: this.endpoint, WEFT_S3_ACCESS_KEY_ID: 'test-key', WEFT_S3_SECRET_ACCESS_KEY: 'test-secret' };
  }

  client(): S3Client {
    return new S3Client({ endpoint: this.endpoint, region: 'us-east-1', forcePathStyle: true, credentials: { accessKeyId: 'test-key', secretAccessKey: 'test-secret' } });
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGKILL');
    await once(this.child, 'exit');
  }
}

export function needS3(server: S3Server | null, context: TestContext): asserts server is S3Server {
  if (server === null) context.skip('needs a server that speaks S3: WEFT_TEST_S3_SERVER names no moto_server (pip install \'moto[server]\')');
}
