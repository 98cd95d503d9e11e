import { randomUUID } from 'node:crypto';
import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER, APP_GUARD } from '@nestjs/core';
import type { Tokenizer } from '@weft/tokenizer';
import { AdaptersController } from './adapters/adapters.controller.js';
import { FilesService } from './adapters/files.service.js';
import { UploadService } from './adapters/upload.service.js';
import { AuditController } from './admin/audit.controller.js';
import { JobsController } from './admin/jobs.controller.js';
import { KeysController } from './admin/keys.controller.js';
import { Tenancy } from './admin/tenancy.js';
import { TenantsController } from './admin/tenants.controller.js';
import { UsageController } from './admin/usage.controller.js';
import { AuthGuard } from './auth.guard.js';
import type { GatewayConfig } from './config.js';
import { ConsoleController } from './console.controller.js';
import { DocsController } from './docs/docs.controller.js';
import { ErrorsFilter } from './errors.filter.js';
import { Fleet } from './fleet.js';
import { GenerationController } from './generation.controller.js';
import { InFlight } from './in-flight.js';
import { Keys } from './keys.js';
import { Ledger } from './ledger.js';
import { Limits } from './limits.js';
import { LiveController } from './live.controller.js';
import { Metrics } from './metrics.js';
import { ModelDirectory } from './model-directory.js';
import { ModelsController } from './models.controller.js';
import { PromptsService } from './prompts.service.js';
import { AdapterTexts } from './adapter-texts.js';
import { RegistryClient } from './registry-client.js';
import { RegistryWatch } from './registry-watch.js';
import { Responder } from './responder.js';
import { StatusController } from './status.controller.js';
import { TokenizeController } from './tokenize.controller.js';
import { GATEWAY_CONFIG, GATEWAY_ID, TOKENIZER } from './tokens.js';

@Module({})
export class GatewayModule {
  static with(config: GatewayConfig, tokenizer: Tokenizer): DynamicModule {
    return {
      module: GatewayModule,
      controllers: [
        GenerationController, ModelsController, TokenizeController, StatusController, AdaptersController,
        TenantsController, KeysController, UsageController, JobsController, AuditController, LiveController, DocsController, ConsoleController,
      ],
      providers: [
        { provide: GATEWAY_CONFIG, useValue: config }, { provide: TOKENIZER, useValue: tokenizer }, { provide: GATEWAY_ID, useFactory: randomUUID },
        { provide: APP_GUARD, useClass: AuthGuard }, { provide: APP_FILTER, useClass: ErrorsFilter },
        RegistryClient, RegistryWatch, Fleet, ModelDirectory, PromptsService, Responder, Keys, Limits, Ledger, InFlight, Metrics, FilesService, AdapterTexts, UploadService, Tenancy,
      ],
    };
  }
}
