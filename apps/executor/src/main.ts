import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConsoleLogger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { report, runService } from '@weft/contracts';
import { Artifacts } from './artifacts.js';
import { ColdStarts } from './cold-starts.js';
import { readConfig } from './config.js';
import { EngineService } from './engine.service.js';
import { ExecutorModule } from './executor.module.js';
import { LinkServer } from './link-server.js';
import { RegistryLink } from './registry-link.js';

await runService(async () => {
  const config = readConfig(process.env);
  const app = await NestFactory.createApplicationContext(ExecutorModule.with(config), { logger: new ConsoleLogger({ colors: false, logLevels: ['error', 'warn'] }), abortOnError: false });
  const engine = app.get(EngineService);
  const server = app.get(LinkServer);
  const log = (line: string): void => console.log(line);
  const at = await server.listen();
  report({ type: 'listening', at });
  await app.get(Artifacts).cleanUp();
  await engine.open(log);
  await app.get(RegistryLink).start(config.advertise ?? at, log);
  report({ type: 'ready' });
  return {
    async stop() {
      await Promise.race([app.get(ColdStarts).drain(), sleep(config.drainTimeoutMs, undefined, { ref: false })]);
      server.close();
      await engine.close();
      await app.close();
    },
  };
});
