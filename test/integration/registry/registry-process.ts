/** The built registry as a process of its own, which can be killed. */
import { fork, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Client, credentials } from '@grpc/grpc-js';
import { LINK_OPTIONS, type ServiceReport } from '@weft/contracts';
import type { TestDatabase } from './database.js';
import { TOKEN } from './registry.js';

const MAIN = fileURLToPath(new URL('../../../apps/registry/dist/main.js', import.meta.url));
export const isBuilt = existsSync(MAIN);

export class RegistryProcess {
  private constructor(readonly child: ChildProcess, readonly address: string, readonly client: Client) {}

  static async start({ url }: Pick<TestDatabase, 'url'>, artifactsDir: string, variables: Record<string, string> = {}): Promise<RegistryProcess> {
    const child = fork(MAIN, {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: { ...process.env, WEFT_LINK_TOKEN: TOKEN, WEFT_DATABASE_URL: url, WEFT_ARTIFACTS_DIR: artifactsDir, WEFT_KEY_PEPPER: 'pepper', ...variables },
    });
    const address = await new Promise<string>((resolve, reject) => {
      child.on('exit', code => reject(new Error(`the registry ended with ${code}`)));
      child.on('message', (report: ServiceReport) => {
        if (report.type === 'listening') resolve(report.at);
        if (report.type === 'failed') reject(new Error(report.message));
      });
    });
    return new RegistryProcess(child, address, new Client(address, credentials.createInsecure(), LINK_OPTIONS));
  }

  /** Without any clean-up. */
  async kill(): Promise<void> { await this.#end('SIGKILL'); }
  async stop(): Promise<void> { await this.#end('SIGTERM'); }

  async #end(signal: NodeJS.Signals): Promise<void> {
    this.client.close();
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise(resolve => this.child.once('exit', resolve));
    this.child.kill(signal);
    await ended;
  }
}
