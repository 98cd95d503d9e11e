import { Env, WeftError } from '@weft/contracts';
import type { CudaOptions, EngineOptions } from '@weft/engine';
import { usableThreads } from '@weft/kernels';

export interface ExecutorConfig {
  /** Port 0 takes a free one. */
  listenHost: string;
  listenPort: number;
  /** host:port where gateways reach it; undefined: where it listens. */
  advertise: string | undefined;
  /** host:port of the registry. */
  registryAddress: string;
  /** What callers must show, and what is shown to the registry. */
  linkToken: string;
  /** A folder with a Hugging Face checkpoint, and how people call it. */
  modelDir: string;
  modelName: string | undefined;
  /** Packed adapters and weights are kept below it. */
  dataDir: string;
  /** `cpu`, or a GPU. */
  device: 'cpu' | CudaOptions;
  threads: number | undefined;
  /** cpu: instruction set other than the best one. */
  isa: string | undefined;
  /** cpu: a JSON file with the machine's tuning. */
  tuningFile: string | undefined;
  poolBytes: number | undefined;
  maxModelLen: number | undefined;
  weights: EngineOptions['weights'];
  activations: 'f32' | 'bf16' | undefined;
  /** Whether packed weights are kept for the next start. */
  packedCache: boolean;
  kv: 'f16' | 'bf16' | 'int8' | undefined;
  traceFile: string | undefined;
  drainTimeoutMs: number;
}

const DEFAULT_DRAIN_S = 30;
/** Addresses to listen on that nobody can call. */
const ANY_HOST: readonly string[] = ['0.0.0.0', '[::]', '::'];

/** Throws option_invalid with the variable's name. */
export function readConfig(variables: NodeJS.ProcessEnv): Readonly<ExecutorConfig> {
  const env = new Env(variables);
  const [listenHost, listenPort] = hostAndPort('WEFT_EXECUTOR_LISTEN', env.optional('WEFT_EXECUTOR_LISTEN') ?? '127.0.0.1:0');
  const advertise = env.optional('WEFT_EXECUTOR_ADVERTISE');
  if (advertise === undefined && ANY_HOST.includes(listenHost)) {
    throw new WeftError('option_invalid', `WEFT_EXECUTOR_ADVERTISE is not set; gateways can't be told to call ${listenHost}`, { field: 'WEFT_EXECUTOR_ADVERTISE' });
  }
  return Object.freeze({
    listenHost, listenPort,
    advertise: advertise && hostAndPort('WEFT_EXECUTOR_ADVERTISE', advertise).join(':'),
    registryAddress: hostAndPort('WEFT_REGISTRY_ADDRESS', env.string('WEFT_REGISTRY_ADDRESS')).join(':'),
    linkToken: env.string('WEFT_LINK_TOKEN'),
    modelDir: env.string('WEFT_MODEL'),
    modelName: env.optional('WEFT_MODEL_NAME'),
    dataDir: env.string('WEFT_DATA_DIR'),
    device: deviceOf(env),
    threads: threadsOf(env.integer('WEFT_THREADS', { min: 1 })),
    isa: env.optional('WEFT_ISA'),
    tuningFile: env.optional('WEFT_TUNING'),
    poolBytes: env.integer('WEFT_POOL_BYTES', { min: 1 }),
    maxModelLen: env.integer('WEFT_MAX_MODEL_LEN', { min: 1 }),
    weights: env.oneOf('WEFT_WEIGHTS', ['bf12', 'bf16', 'f16', 'f32', 'int8']),
    activations: env.oneOf('WEFT_ACTIVATIONS', ['f32', 'bf16']),
    packedCache: env.oneOf('WEFT_PACKED_CACHE', ['on', 'off']) !== 'off',
    kv: env.oneOf('WEFT_KV', ['f16', 'bf16', 'int8']),
    traceFile: env.optional('WEFT_TRACE'),
    drainTimeoutMs: (env.integer('WEFT_DRAIN_TIMEOUT', { min: 0, max: 86_400 }) ?? DEFAULT_DRAIN_S) * 1000,
  });
}

function hostAndPort(name: string, text: string): [string, number] {
  const match = /^(.+):(\d{1,5})$/.exec(text);
  if (!match || Number(match[2]) > 65_535) throw new WeftError('option_invalid', `${name} is ${JSON.stringify(text)}; it must be host:port`, { field: name });
  return [match[1]!, Number(match[2])];
}

/** WEFT_CUDA_DRIVER, WEFT_CUDA_MODULE, WEFT_CUBLASLT: files other than the usual ones. */
function deviceOf(env: Env): ExecutorConfig['device'] {
  const name = env.optional('WEFT_DEVICE') ?? 'cpu';
  if (name === 'cpu') return name;
  const ordinal = /^cuda:(\d{1,2})$/.exec(name)?.[1];
  if (ordinal === undefined) throw new WeftError('option_invalid', `WEFT_DEVICE is ${JSON.stringify(name)}; it must be cpu or cuda:N`, { field: 'WEFT_DEVICE' });
  return { ordinal: Number(ordinal), driver: env.optional('WEFT_CUDA_DRIVER'), module: env.optional('WEFT_CUDA_MODULE'), cublasLt: env.optional('WEFT_CUBLASLT'), deterministic: env.oneOf('WEFT_DETERMINISTIC', ['on', 'off']) === 'on' };
}

/** More threads than processors wait for one another in every op. */
function threadsOf(asked: number | undefined): number | undefined {
  const limit = usableThreads();
  if (asked === undefined || asked <= limit) return asked;
  throw new WeftError('option_invalid', `${asked} threads were asked for; this process may use ${limit} (processors, affinity and the container's limit)`, { field: 'threads', limit });
}
