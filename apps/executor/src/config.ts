import { Env, WeftError } from '@weft/contracts';

export interface ExecutorConfig {
  /** Where gateways reach it; port 0 takes a free one. */
  listenHost: string;
  listenPort: number;
  /** What callers must show. */
  linkToken: string;
  /** A folder with a Hugging Face checkpoint, and how people call it. */
  modelDir: string;
  modelName: string | undefined;
  /** Every adapter folder in it is served. */
  adaptersDir: string | undefined;
  /** Packed adapters are kept below it. */
  dataDir: string;
  threads: number | undefined;
  /** cpu: instruction set other than the best one. */
  isa: string | undefined;
  poolBytes: number | undefined;
  maxModelLen: number | undefined;
  weights: 'bf16' | 'f16' | 'f32' | undefined;
  traceFile: string | undefined;
  drainTimeoutMs: number;
}

const DEFAULT_DRAIN_S = 30;

/** Throws option_invalid with the variable's name. */
export function readConfig(variables: NodeJS.ProcessEnv): Readonly<ExecutorConfig> {
  const env = new Env(variables);
  const [listenHost, listenPort] = hostAndPort(env.optional('WEFT_EXECUTOR_LISTEN') ?? '127.0.0.1:0');
  return Object.freeze({
    listenHost, listenPort,
    linkToken: env.string('WEFT_LINK_TOKEN'),
    modelDir: env.string('WEFT_MODEL'),
    modelName: env.optional('WEFT_MODEL_NAME'),
    adaptersDir: env.optional('WEFT_ADAPTERS'),
    dataDir: env.string('WEFT_DATA_DIR'),
    threads: env.integer('WEFT_THREADS', { min: 1, max: 1024 }),
    isa: env.optional('WEFT_ISA'),
    poolBytes: env.integer('WEFT_POOL_BYTES', { min: 1 }),
    maxModelLen: env.integer('WEFT_MAX_MODEL_LEN', { min: 1 }),
    weights: env.oneOf('WEFT_WEIGHTS', ['bf16', 'f16', 'f32']),
    traceFile: env.optional('WEFT_TRACE'),
    drainTimeoutMs: (env.integer('WEFT_DRAIN_TIMEOUT', { min: 0, max: 86_400 }) ?? DEFAULT_DRAIN_S) * 1000,
  });
}

function hostAndPort(text: string): [string, number] {
  const match = /^(.+):(\d{1,5})$/.exec(text);
  if (!match || Number(match[2]) > 65_535) throw new WeftError('option_invalid', `WEFT_EXECUTOR_LISTEN is ${JSON.stringify(text)}; it must be host:port`, { field: 'WEFT_EXECUTOR_LISTEN' });
  return [match[1]!, Number(match[2])];
}
