import { Module, type DynamicModule } from '@nestjs/common';
import { createEngine } from '@weft/engine';
import type { ExecutorConfig } from './config.js';
import { EngineService } from './engine.service.js';
import { LinkServer } from './link-server.js';
import { EXECUTOR_CONFIG, OPEN_ENGINE } from './tokens.js';

@Module({})
export class ExecutorModule {
  static with(config: ExecutorConfig): DynamicModule {
    return {
      module: ExecutorModule,
      providers: [{ provide: EXECUTOR_CONFIG, useValue: config }, { provide: OPEN_ENGINE, useValue: createEngine }, EngineService, LinkServer],
    };
  }
}
