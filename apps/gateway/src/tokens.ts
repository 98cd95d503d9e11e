/** What is injected by token rather than by class. */
export const GATEWAY_CONFIG = Symbol('GatewayConfig');
export const TOKENIZER = Symbol('Tokenizer');
/** Who this process is, for the registry and executors. */
export const GATEWAY_ID = Symbol('GatewayId');
