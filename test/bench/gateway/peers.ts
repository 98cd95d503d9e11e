/** Other gateways in front of a plain upstream, where they are installed. Each is measured against its own upstream without it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../../apps/cli/src/free-port.js';
import type { Shot } from './load.js';
import { forkScript } from './services.js';

export interface GatewayPeer {
  name: string; through: Shot; direct: Shot;
  /** Requests a second that it is not asked for: it would be behind for minutes. */
  beyond: number;
  stop(): void;
}

const BODY = JSON.stringify({ model: 'sim', messages: [{ role: 'user', content: 'Hello there' }], max_tokens: 32, stream: true });
const JSON_HEADERS = { 'content-type': 'application/json', authorization: 'Bearer sk-upstream' };

export interface PeerPlaces { portkey: string; litellm: string }

export async function startPeers({ portkey, litellm }: PeerPlaces): Promise<{ peers: GatewayPeer[]; absent: string[] }> {
  const peers: GatewayPeer[] = [];
  const absent: string[] = [];
  const script = join(portkey, 'node_modules/@portkey-ai/gateway/build/start-server.js');
  if (portkey !== '' && existsSync(script)) peers.push(await portkeyPeer(script));
  else absent.push('Portkey: no folder with node_modules/@portkey-ai/gateway given (--portkey)');
  const command = join(litellm, 'bin/litellm');
  if (litellm !== '' && existsSync(command)) peers.push(await litellmPeer(command));
  else absent.push('LiteLLM: no virtual environment with bin/litellm given (--litellm)');
  return { peers, absent };
}

async function portkeyPeer(script: string): Promise<GatewayPeer> {
  const upstream = await forkScript('upstream.ts', {});
  const port = await freePort();
  const preload = new URL('portkey-preload.mjs', import.meta.url).href;
  const env = { ...process.env, NODE_ENV: 'production', TRUSTED_CUSTOM_HOSTS: '127.0.0.1' };
  const child = spawn(process.execPath, ['--import', preload, script, `--port=${port}`, '--headless'], { stdio: 'ignore', env });
  const headers = { ...JSON_HEADERS, 'x-portkey-provider': 'openai', 'x-portkey-custom-host': `http://${upstream.address}/v1` };
  return peer('Portkey', Infinity, child, upstream, { url: `http://127.0.0.1:${port}`, path: '/v1/chat/completions', headers, body: BODY });
}

async function litellmPeer(command: string): Promise<GatewayPeer> {
  const upstream = await forkScript('upstream.ts', {});
  const port = await freePort();
  const config = join(mkdtempSync(join(tmpdir(), 'weft-bench-litellm-')), 'config.yaml');
  writeFileSync(config, `model_list:\n  - model_name: sim\n    litellm_params: { model: openai/sim, api_base: "http://${upstream.address}/v1", api_key: sk-upstream }\n`);
  const child = spawn(command, ['--config', config, '--host', '127.0.0.1', '--port', String(port)], { stdio: 'ignore', env: { ...process.env, LITELLM_LOG: 'ERROR', LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY: 'true' } });
  return peer('LiteLLM', 100, child, upstream, { url: `http://127.0.0.1:${port}`, path: '/v1/chat/completions', headers: JSON_HEADERS, body: BODY });
}

async function peer(name: string, beyond: number, child: ChildProcess, upstream: { child: ChildProcess; address: string }, through: Shot): Promise<GatewayPeer> {
  const exited = once(child, 'exit').then(() => true);
  for (let i = 0; ; i++) {
    const status = await fetch(through.url + through.path, { method: 'POST', headers: through.headers, body: through.body }).then(async response => { await response.text(); return response.status; }, () => 0);
    if (status === 200) break;
    if (i > 600 || await Promise.race([exited, new Promise<false>(resolve => { setTimeout(resolve, 100, false); })])) { child.kill('SIGKILL'); upstream.child.disconnect(); throw new Error(`${name} does not answer: ${status}`); }
  }
  return {
    name, beyond, through, direct: { url: `http://${upstream.address}`, path: '/v1/chat/completions', headers: JSON_HEADERS, body: BODY },
    stop() { child.kill('SIGKILL'); upstream.child.disconnect(); },
  };
}
