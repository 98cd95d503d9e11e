import 'reflect-metadata';
import { report, runService } from '@weft/contracts';
import { readMigrateConfig } from './config.js';
import { migrate } from './migrations/migrate.js';

// A service that is done when it is ready: errors are told as every service tells them.
await runService(async () => {
  const config = readMigrateConfig(process.env);
  await migrate(config);
  if (config.s3 !== undefined) {
    const { ensureBucket } = await import('./artifacts/s3-bucket.js');
    await ensureBucket(config.s3);
  }
  report({ type: 'ready' });
  process.exit(0);
});
