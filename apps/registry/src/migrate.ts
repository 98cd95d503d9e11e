import 'reflect-metadata';
import { report, runService } from '@weft/contracts';
import { readMigrateConfig } from './config.js';
import { migrate } from './migrations/migrate.js';

// A service that is done when it is ready: errors are told as every service tells them.
await runService(async () => {
  await migrate(readMigrateConfig(process.env));
  report({ type: 'ready' });
  process.exit(0);
});
