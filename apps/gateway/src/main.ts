import 'reflect-metadata';
import { report, runService } from '@weft/contracts';
import { startGateway } from './app.js';
import { readConfig } from './config.js';

await runService(async () => {
  const gateway = await startGateway(readConfig(process.env));
  report({ type: 'listening', at: gateway.url });
  void gateway.served().then(() => report({ type: 'ready' }));
  return gateway;
});
