/** The HTTP server around the modules: its bounds, and what every request gets whichever route it takes. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { ConsoleLogger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { WeftError } from '@weft/contracts';
import { loadTokenizer } from '@weft/tokenizer';
import type { FastifyInstance, RouteOptions } from 'fastify';
import { acceptForms } from './adapters/forms.js';
import type { GatewayConfig } from './config.js';
import { BODY_BYTES_MAX } from './dto/caps.js';
import { Fleet } from './fleet.js';
import { GatewayModule } from './gateway.module.js';
import { InFlight } from './in-flight.js';
import { Ledger } from './ledger.js';
import { acceptJson, refuseBytes, refuseUrl } from './refusals.js';

/** Longer than the idle time of common load balancers, so that they are the ones who close. */
const KEEP_ALIVE_MS = 75_000;

/** A gateway that listens. */
export interface Gateway {
  readonly url: string;
  /** Resolves when an executor serves. */
  served(): Promise<void>;
  /** Answers what runs within the drain time, refuses the rest, frees the port. */
  stop(): Promise<void>;
}

/** Throws tokenizer_invalid, port_in_use, option_invalid. */
export async function startGateway(config: GatewayConfig): Promise<Gateway> {
  const tokenizer = await loadTokenizer(config.modelDir);
  if (tokenizer.chatTemplateProblem !== undefined) console.log(`chat: ${tokenizer.chatTemplateProblem.message}`);
  const adapter = new FastifyAdapter({
    // Node's own bound on a request would end long uploads as well: bodies are timed where they are read.
    bodyLimit: BODY_BYTES_MAX, requestTimeout: 0, keepAliveTimeout: KEEP_ALIVE_MS, forceCloseConnections: true,
    genReqId: newRequestId, requestIdHeader: false, frameworkErrors: refuseUrl, clientErrorHandler: (error, socket) => refuseBytes(error, socket, newRequestId()),
    ...tlsOptions(config),
  });
  const app = await NestFactory.create<NestFastifyApplication>(GatewayModule.with(config, tokenizer), adapter, {
    logger: new ConsoleLogger({ colors: false, logLevels: ['error', 'warn'] }), abortOnError: false, bodyParser: false,
  });
  const fastify = adapter.getInstance() as unknown as FastifyInstance;
  acceptJson(fastify);
  acceptForms(fastify);
  fastify.addHook('onRequest', async (request, reply) => { reply.header('x-request-id', request.id); });
  refuseWrongMethods(fastify);
  if (config.corsOrigins.length > 0) {
    app.enableCors({
      origin: config.corsOrigins.includes('*') ? '*' : config.corsOrigins,
      methods: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'],
      exposedHeaders: [
        'x-request-id', 'x-weft-adapter', 'x-weft-digest', 'retry-after', 'retry-after-ms', 'x-should-retry',
        ...['requests', 'tokens'].flatMap(what => ['limit', 'remaining', 'reset'].map(part => `x-ratelimit-${part}-${what}`)),
      ],
    });
  }
  const close = async (): Promise<void> => { await app.close(); await tokenizer.close(); };
  try {
    // Not by Nest, which logs what it throws as well.
    await app.init();
    await fastify.listen({ port: config.port, host: config.host });
  } catch (cause) {
    await close();
    throw listenError(cause, config);
  }
  const { port } = app.getHttpServer().address() as { port: number };
  return {
    url: `${config.tls === undefined ? 'http' : 'https'}://${urlHost(config.host)}:${port}`,
    served: () => app.get(Fleet).served(),
    async stop() {
      await app.get(InFlight).drain(config.drainTimeoutMs);
      await app.get(Ledger).stop();
      await close();
    },
  };
}

/** Of a UUID, which takes its random bits from a stock: asking the system for each request costs as much as routing it. */
const newRequestId = (): string => `req_${randomUUID().replaceAll('-', '').slice(0, 24)}`;

function tlsOptions({ tls }: GatewayConfig): object {
  if (tls === undefined) return {};
  const read = (file: string, field: string): Buffer => {
    try { return readFileSync(file); } catch (cause) { throw new WeftError('option_invalid', `the TLS file ${file} can't be read: ${(cause as Error).message}`, { field, cause }); }
  };
  const https = { cert: read(tls.certFile, 'tls-cert'), key: read(tls.keyFile, 'tls-key') };
  try {
    createSecureContext(https);
  } catch (cause) {
    throw new WeftError('option_invalid', `${tls.certFile} and ${tls.keyFile} are no certificate and its key in PEM: ${(cause as Error).message}`, { field: 'tls-cert', cause });
  }
  return { https };
}

function listenError(cause: unknown, { host, port }: GatewayConfig): unknown {
  const { code } = cause as NodeJS.ErrnoException;
  if (code === 'EADDRINUSE') return new WeftError('port_in_use', `port ${port} of ${host} is in use; choose another with --port, or 0 for a free one`, { field: 'port', cause });
  if (code === 'EADDRNOTAVAIL' || code === 'EACCES' || code === 'ENOTFOUND') return new WeftError('option_invalid', `can't listen on ${host}:${port}: ${code}`, { field: 'host', cause });
  return cause;
}

/** A known path with another method is 405 and names the right one, instead of 404. */
function refuseWrongMethods(fastify: FastifyInstance): void {
  const methods = new Map<string, { pattern: RegExp; allowed: Set<string> }>();
  fastify.addHook('onRoute', ({ url, method }: RouteOptions) => {
    const known = methods.get(url) ?? { pattern: patternOf(url), allowed: new Set() };
    for (const one of [method].flat()) if (one !== 'HEAD' && one !== 'OPTIONS') known.allowed.add(one);
    if (known.allowed.size > 0) methods.set(url, known);
  });
  fastify.addHook('preHandler', async (request, reply) => {
    if (!request.is404) return;
    const path = request.url.split('?', 1)[0]!;
    const allowed = [...methods.values()].filter(({ pattern }) => pattern.test(path)).flatMap(route => [...route.allowed]);
    if (allowed.length === 0) throw new WeftError('not_found', `There is no ${request.method} ${path} here.`);
    reply.header('allow', allowed.join(', '));
    throw new WeftError('method_not_allowed', `${path} takes ${allowed.join(', ')}, not ${request.method}.`);
  });
}

/** Of paths with parts `:name`, and `*` at the end. */
const patternOf = (url: string): RegExp => new RegExp(`^${url.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replace(/:\w+/g, '[^/]+').replace(/\*$/, '.*')}$`);

const urlHost = (host: string): string => {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1';
  return host.includes(':') ? `[${host}]` : host;
};
