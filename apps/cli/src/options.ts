/** The options of `weft up`: one table for parsing, the environment, help and error messages. */
import { userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { parseInteger, WeftError } from '@weft/contracts';
import { Command, Option } from 'commander';

export interface UpOptions {
  host: string;
  port: number;
  /** Undefined with --once: a temporary one. */
  dataDir: string | undefined;
  /** `demo`, a folder, or org/name. */
  model: string;
  modelName: string | undefined;
  adapters: string | undefined;
  device: string;
  deterministic: boolean;
  threads: number | undefined;
  isa: string | undefined;
  poolBytes: number | undefined;
  maxModelLen: number | undefined;
  weights: string | undefined;
  kv: string | undefined;
  activations: string | undefined;
  packedCache: string | undefined;
  tuning: string | undefined;
  apiKey: string | undefined;
  adminKey: string | undefined;
  corsOrigins: string | undefined;
  tlsCert: string | undefined;
  tlsKey: string | undefined;
  drainTimeout: number;
  demo: boolean;
  once: boolean;
  trace: string | undefined;
}

const integer = (name: string, min: number, max?: number) => (text: string): number => parseInteger(`--${name}`, text, max === undefined ? { min } : { min, max });
const matching = (name: string, pattern: RegExp, rule: string) => (text: string): string => {
  if (!pattern.test(text)) throw new WeftError('option_invalid', `--${name} must be ${rule}`, { field: `--${name}` });
  return text;
};
/** What fits into a header behind «Bearer ». */
const key = (name: string) => matching(name, /^[\x21-\x7e]{1,512}$/, 'from 1 to 512 ASCII characters without blanks');
/** `@`, `+` and `*` have other meanings in a model's id. */
const modelName = matching('model-name', /^[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}$/, 'letters, digits, ".", "_", "-", ":" and "/", at most 255, a letter or digit first');
const device = matching('device', /^(cpu|cuda:\d{1,2})$/, 'cpu or cuda:N, N being a GPU\'s number');
export const DEFAULT_PORT = 8080;

/** Every option can also be given as WEFT_… in the environment; the command line wins. */
export function upOptions(): Option[] {
  const options = [
    new Option('--port <number>', `port to listen on, 0 for a free one (default ${DEFAULT_PORT})`).argParser(integer('port', 0, 65_535)),
    new Option('--host <address>', 'address to listen on').default('127.0.0.1'),
    new Option('--data-dir <folder>', 'where Weft keeps what it makes (default ~/.weft)'),
    new Option('--model <demo|folder|org/name>', 'the bundled demo, a folder with a Hugging Face checkpoint, or a model in the Hugging Face cache').default('demo'),
    new Option('--model-name <id>', 'id of the base in the API (default: from --model)').argParser(modelName),
    new Option('--adapters <folder>', 'every adapter folder in it is uploaded at the start'),
    new Option('--device <device>', 'where the model runs: cpu, or cuda:0, cuda:1, …').argParser(device).default('cpu'),
    new Option('--deterministic', 'on a GPU, the same bits of an answer in every batch; slower').default(false),
    new Option('--threads <number>', 'threads of the device (default: one a core)').argParser(integer('threads', 1)),
    new Option('--isa <name>', 'instruction set of the kernels, as avx2 or neon (default: the best that is there)'),
    new Option('--pool-bytes <bytes>', 'memory for KV and adapters (default: half of what is free)').argParser(integer('pool-bytes', 1)),
    new Option('--max-model-len <tokens>', 'longest context (default: what model and pool allow)').argParser(integer('max-model-len', 1)),
    new Option('--weights <type>', 'how weights are kept in memory; bf12 is bf16 without loss (default: as stored, bf16 as bf12)').choices(['bf12', 'bf16', 'f16', 'f32', 'int8']),
    new Option('--kv <type>', 'how keys and values are kept; int8 halves their memory, and rounds (default: f16; bf16 with --activations bf16 where the processor multiplies it)').choices(['f16', 'bf16', 'int8']),
    new Option('--activations <type>', 'what linear maps read: bf16 rounds, and is faster where the device multiplies bf16 (default: f32, on a GPU bf16)').choices(['f32', 'bf16']),
    new Option('--packed-cache <on|off>', 'keep packed weights for the next start (default: on)').choices(['on', 'off']),
    new Option('--tuning <file>', 'JSON file with the tuning of this machine, as the bench writes it (default: fits the instruction set)'),
    new Option('--api-key <key>', 'the tenant key (default: the last one of this data directory, or a new one)').argParser(key('api-key')),
    new Option('--admin-key <key>', 'the admin key (default: likewise)').argParser(key('admin-key')),
    new Option('--cors-origins <origins>', 'origins that browsers may call from, with commas; * for any'),
    new Option('--tls-cert <file>', 'certificate (PEM), for https'),
    new Option('--tls-key <file>', 'its private key (PEM)'),
    new Option('--drain-timeout <seconds>', 'how long answers may go on after a stop').argParser(integer('drain-timeout', 0, 86_400)).default(30),
    new Option('--no-demo', 'start without the adapters of the demo'),
    new Option('--once', 'start in a temporary data directory, ask the base and every adapter, print a table, exit').default(false),
    new Option('--trace <file>', 'write a timeline of every op (Chrome trace format)'),
  ];
  return options.map(option => option.env(`WEFT_${option.name().replaceAll('-', '_').toUpperCase()}`));
}

/** Empty variables are none, and a switch may be off: commander would only look whether the variable is there. */
export function withoutUnset(env: NodeJS.ProcessEnv, options: readonly Option[]): NodeJS.ProcessEnv {
  const unset = ({ envVar, required, optional }: Option): boolean => {
    const value = env[envVar!];
    return value === '' || (!required && !optional && /^(0|false|no|off)$/i.test(value ?? ''));
  };
  const names = new Set(options.filter(unset).map(({ envVar }) => envVar!));
  return Object.fromEntries(Object.entries(env).filter(([name]) => !names.has(name)));
}

/** Variables that tell clients of PostgreSQL where their server is mean some other one: ours is told by URLs alone. */
export function withoutPostgres(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^PG[A-Z]+$/.test(name)));
}

/** An empty HOME is none: the files would land wherever the command runs. */
export const homeOf = ({ HOME }: NodeJS.ProcessEnv): string => HOME || userInfo().homedir;

export const usualDataDir = (env: NodeJS.ProcessEnv): string => join(homeOf(env), '.weft');

/** Relative paths are relative to where the person typed the command: npm changes the directory. */
export function resolvePath<T extends string | undefined>(path: T, { INIT_CWD = '.' }: NodeJS.ProcessEnv): T | string {
  return path === undefined ? path : resolve(INIT_CWD, path);
}

/** Throws option_invalid for options that contradict each other. */
export function resolveOptions(raw: Partial<UpOptions>, env: NodeJS.ProcessEnv): UpOptions {
  const path = (value: string | undefined): string | undefined => resolvePath(value, env);
  const { once = false, tlsCert, tlsKey } = raw;
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw new WeftError('option_invalid', '--tls-cert and --tls-key come together', { field: tlsCert === undefined ? 'tls-cert' : 'tls-key' });
  }
  if (raw.apiKey !== undefined && raw.apiKey === raw.adminKey) throw new WeftError('option_invalid', '--api-key and --admin-key must differ', { field: 'admin-key' });
  return {
    ...raw as UpOptions, once,
    port: raw.port ?? (once ? 0 : DEFAULT_PORT),
    dataDir: path(raw.dataDir) ?? (once ? undefined : usualDataDir(env)),
    adapters: path(raw.adapters), tlsCert: path(tlsCert), tlsKey: path(tlsKey), tuning: path(raw.tuning), trace: path(raw.trace),
  };
}

/** commander's own complaint as an error of ours that lists the right options. */
export function optionError(message: string, command: Command): WeftError {
  const names = command.options.map(option => option.long).filter(Boolean).join(', ');
  const text = message.replace(/^error: /, '').replace(/\.?\s*(\(Did you mean .*\))?$/, (_, hint: string | undefined) => (hint ? ` ${hint}` : ''));
  return new WeftError('option_invalid', `${text}. The options of ${fullName(command)} are ${names}`);
}

const fullName = (command: Command): string => (command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`);
