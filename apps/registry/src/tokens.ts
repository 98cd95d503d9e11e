/** What is injected by token rather than by class. */
export const REGISTRY_CONFIG = Symbol('RegistryConfig');
