import { ExecutorDefinition } from './gen/weft/executor/v1/executor.js';
import { ExecutorsDefinition, RegistryDefinition } from './gen/weft/registry/v1/registry.js';
import { grpcService } from './grpc.js';

export * from './env.js';
export * from './errors.js';
export { ERROR_GROUPS } from './error-help.js';
export * from './link.js';
export * from './service.js';
export * from './version.js';
export * from './wire-error.js';
export * as executorV1 from './gen/weft/executor/v1/executor.js';
export * as registryV1 from './gen/weft/registry/v1/registry.js';
export type { MethodDefinition } from './grpc.js';

/** The services in the form that servers and clients of grpc-js take. */
export const executorService = grpcService(ExecutorDefinition);
/** What gateways ask of the registry. */
export const registryService = grpcService(RegistryDefinition);
/** What executors ask of the registry. */
export const executorsService = grpcService(ExecutorsDefinition);
