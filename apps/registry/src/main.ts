import 'reflect-metadata';
import { ConsoleLogger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { report, runService } from '@weft/contracts';
import { readConfig } from './config.js';
import { checkDatabase } from './database-check.js';
import { RegistryModule } from './registry.module.js';
import { RegistryServer } from './server.js';

await runService(async () => {
  const config = readConfig(process.env);
  await checkDatabase(config.databaseUrl);
  const app = await NestFactory.createApplicationContext(RegistryModule.with(config), { logger: new ConsoleLogger({ colors: false, logLevels: ['error', 'warn'] }), abortOnError: false });
  const server = app.get(RegistryServer);
  report({ type: 'listening', at: await server.listen() });
  report({ type: 'ready' });
  return {
    async stop() {
      await server.close();
      await app.close();
    },
  };
});
