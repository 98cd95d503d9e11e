import { ExecutorDefinition } from './gen/weft/executor/v1/executor.js';
import { grpcMethod } from './grpc.js';

export * from './env.js';
export * from './errors.js';
export * from './link.js';
export * from './service.js';
export * from './version.js';
export * as executorV1 from './gen/weft/executor/v1/executor.js';

const { fullName, methods } = ExecutorDefinition;
/** The executor's service, for servers and clients of grpc-js. */
export const executorService = {
  attach: grpcMethod(fullName, methods.attach),
  describe: grpcMethod(fullName, methods.describe),
} as const;
