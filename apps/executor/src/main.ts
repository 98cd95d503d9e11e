import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConsoleLogger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { report, runService } from '@weft/contracts';
import { readConfig } from './config.js';
import { EngineService } from './engine.service.js';
import { ExecutorModule } from './executor.module.js';
import { LinkServer } from './link-server.js';

await runService(async () => {
  const config = readConfig(process.env);
  const app = await NestFactory.createApplicationContext(ExecutorModule.with(config), { logger: new ConsoleLogger({ colors: false, logLevels: ['error', 'warn'] }), abortOnError: false });
  const engine = app.get(EngineService);
  const server = app.get(LinkServer);
  report({ type: 'listening', at: await server.listen() });
  await engine.open(line => console.log(line));
  report({ type: 'ready' });
  return {
    async stop() {
      await Promise.race([engine.drain(), sleep(config.drainTimeoutMs, undefined, { ref: false })]);
      server.close();
      await engine.close();
      await app.close();
    },
  };
});
