import { randomUUID } from 'node:crypto';
import { Module, type DynamicModule } from '@nestjs/common';
import { createEngine } from '@weft/engine';
import { Artifacts } from './artifacts.js';
import { ColdStarts } from './cold-starts.js';
import type { ExecutorConfig } from './config.js';
import { EngineService } from './engine.service.js';
import { LinkServer } from './link-server.js';
import { Preparations } from './preparations.js';
import { RegistryClient } from './registry-client.js';
import { RegistryLink } from './registry-link.js';
import { Terminals } from './terminals.js';
import { EXECUTOR_CONFIG, EXECUTOR_ID, OPEN_ENGINE } from './tokens.js';

@Module({})
export class ExecutorModule {
  static with(config: ExecutorConfig): DynamicModule {
    return {
      module: ExecutorModule,
      providers: [
        { provide: EXECUTOR_CONFIG, useValue: config }, { provide: EXECUTOR_ID, useValue: randomUUID() }, { provide: OPEN_ENGINE, useValue: createEngine },
        { provide: Terminals, useFactory: () => new Terminals() }, EngineService, RegistryClient, Artifacts, ColdStarts, Preparations, LinkServer, RegistryLink,
      ],
    };
  }
}
