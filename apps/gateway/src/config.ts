import { Env, WeftError } from '@weft/contracts';

export interface GatewayConfig {
  host: string;
  /** 0 takes a free one. */
  port: number;
  tls: { certFile: string; keyFile: string } | undefined;
  /** Origins that browsers may call from; '*' allows any. */
  corsOrigins: string[];
  /** The folder with the base's tokenizer, and the base's id. */
  modelDir: string;
  modelName: string;
  /** host:port, and what to show there and at executors. */
  registryAddress: string;
  linkToken: string;
  drainTimeoutMs: number;
}

const DEFAULT_PORT = 8080;
const DEFAULT_DRAIN_S = 30;

/** Throws option_invalid with the variable's name. */
export function readConfig(variables: NodeJS.ProcessEnv): Readonly<GatewayConfig> {
  const env = new Env(variables);
  const certFile = env.optional('WEFT_TLS_CERT');
  const keyFile = env.optional('WEFT_TLS_KEY');
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw new WeftError('option_invalid', 'TLS needs both WEFT_TLS_CERT and WEFT_TLS_KEY', { field: certFile === undefined ? 'WEFT_TLS_CERT' : 'WEFT_TLS_KEY' });
  }
  return Object.freeze({
    host: env.optional('WEFT_HOST') ?? '127.0.0.1',
    port: env.integer('WEFT_PORT', { min: 0, max: 65_535 }) ?? DEFAULT_PORT,
    tls: certFile === undefined || keyFile === undefined ? undefined : { certFile, keyFile },
    corsOrigins: env.list('WEFT_CORS_ORIGINS'),
    modelDir: env.string('WEFT_MODEL'),
    modelName: env.string('WEFT_MODEL_NAME'),
    registryAddress: env.string('WEFT_REGISTRY_ADDRESS'),
    linkToken: env.string('WEFT_LINK_TOKEN'),
    drainTimeoutMs: (env.integer('WEFT_DRAIN_TIMEOUT', { min: 0, max: 86_400 }) ?? DEFAULT_DRAIN_S) * 1000,
  });
}
