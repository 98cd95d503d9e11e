import { Module, type DynamicModule } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Adapters } from './adapters.js';
import { Aliases } from './aliases.js';
import { ArtifactCollector } from './artifacts/artifact-collector.js';
import { ArtifactStore } from './artifacts/artifact-store.js';
import { FolderStore } from './artifacts/folder-store.js';
import { AuditLog } from './audit.js';
import { Bootstrap } from './bootstrap.js';
import type { RegistryConfig } from './config.js';
import { dataSourceOptions } from './data-source.js';
import { Database, POOL_OPTIONS } from './database.js';
import { ExecutorPool } from './executors/executor-pool.js';
import { ExecutorsService } from './executors/executors.service.js';
import { IngestionRepository } from './ingestion/ingestion.repository.js';
import { IngestionService } from './ingestion/ingestion.service.js';
import { IngestionWorker } from './ingestion/ingestion.worker.js';
import { queueModule } from './ingestion/queue.js';
import { UploadService } from './ingestion/upload.service.js';
import { Keys } from './keys.js';
import { Members } from './members.js';
import { Outbox } from './outbox.js';
import { RegistryServer } from './server.js';
import { Shares } from './shares.js';
import { Sweeper } from './sweeper.js';
import { Tenants } from './tenants.js';
import { REGISTRY_CONFIG } from './tokens.js';
import { Ledger } from './usage.js';
import { Watch } from './watch.js';

@Module({})
export class RegistryModule {
  static with(config: RegistryConfig): DynamicModule {
    return {
      module: RegistryModule,
      // The database is checked before; one that is away now is for the supervisor to wait for.
      imports: [TypeOrmModule.forRoot({ ...dataSourceOptions(config.databaseUrl, POOL_OPTIONS), retryAttempts: 1 }), queueModule(config)],
      providers: [
        { provide: REGISTRY_CONFIG, useValue: config },
        { provide: ArtifactStore, useFactory: () => openStore(config) },
        Database, AuditLog, Outbox, Members, Adapters, Tenants, Keys, Bootstrap, Aliases, Shares, Ledger, Sweeper, Watch, RegistryServer,
        ArtifactCollector, ExecutorPool, ExecutorsService, IngestionRepository, IngestionWorker, IngestionService, UploadService,
      ],
    };
  }
}

/** The client of S3 is large: it is loaded where it is used. */
async function openStore({ s3, artifactsDir }: RegistryConfig): Promise<ArtifactStore> {
  if (s3 === undefined) return FolderStore.open(artifactsDir);
  const { S3Store } = await import('./artifacts/s3-store.js');
  return S3Store.open(s3, artifactsDir);
}
