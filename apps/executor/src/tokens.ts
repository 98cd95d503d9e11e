/** What is injected by token rather than by class. */
export const EXECUTOR_CONFIG = Symbol('ExecutorConfig');
/** Who this process is to gateways and the registry. */
export const EXECUTOR_ID = Symbol('ExecutorId');
export const OPEN_ENGINE = Symbol('OpenEngine');
