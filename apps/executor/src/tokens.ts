/** What is injected by token rather than by class. */
export const EXECUTOR_CONFIG = Symbol('ExecutorConfig');
export const OPEN_ENGINE = Symbol('OpenEngine');
