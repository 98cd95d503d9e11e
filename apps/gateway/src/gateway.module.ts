import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER, APP_GUARD } from '@nestjs/core';
import type { Tokenizer } from '@weft/tokenizer';
import { AuthGuard } from './auth.guard.js';
import type { GatewayConfig } from './config.js';
import { ErrorsFilter } from './errors.filter.js';
import { ExecutorClient } from './executor-client.js';
import { GenerationController } from './generation.controller.js';
import { InFlight } from './in-flight.js';
import { Keys } from './keys.js';
import { Ledger } from './ledger.js';
import { Limits } from './limits.js';
import { Metrics } from './metrics.js';
import { ModelDirectory } from './model-directory.js';
import { ModelsController } from './models.controller.js';
import { PromptsService } from './prompts.service.js';
import { Responder } from './responder.js';
import { StatusController } from './status.controller.js';
import { TokenizeController } from './tokenize.controller.js';
import { GATEWAY_CONFIG, TOKENIZER } from './tokens.js';

@Module({})
export class GatewayModule {
  static with(config: GatewayConfig, tokenizer: Tokenizer): DynamicModule {
    return {
      module: GatewayModule,
      controllers: [GenerationController, ModelsController, TokenizeController, StatusController],
      providers: [
        { provide: GATEWAY_CONFIG, useValue: config }, { provide: TOKENIZER, useValue: tokenizer },
        { provide: APP_GUARD, useClass: AuthGuard }, { provide: APP_FILTER, useClass: ErrorsFilter },
        ExecutorClient, ModelDirectory, PromptsService, Responder, Keys, Limits, Ledger, InFlight, Metrics,
      ],
    };
  }
}
