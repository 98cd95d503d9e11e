/** What is refused before any route is found: bodies that are not JSON in UTF-8, URLs and bytes that are not HTTP. */
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { WeftError, type ErrorCode } from '@weft/contracts';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { takesForm } from './adapters/forms.js';
import { asWeftError, errorBody } from './errors.js';

/** A body of JSON has to arrive within this time. Answers may take as long as they need. */
const BODY_MS_MAX = 60_000;
/** A byte order mark is skipped; bytes that are not UTF-8 would become other text than the client meant. */
const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** Nothing else is read but what a route reads itself. */
export function acceptJson(fastify: FastifyInstance): void {
  fastify.addHook('preParsing', (request, _reply, _payload, done) => { timeBody(request); done(); });
  const parse = fastify.getDefaultJsonParser('error', 'error');
  fastify.removeContentTypeParser(['application/json', 'text/plain']);
  fastify.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, bytes, done) => {
    let text: string;
    try {
      text = UTF8.decode(bytes as Buffer);
    } catch (cause) {
      return done(new WeftError('invalid_value', 'The body is not UTF-8.', { cause }));
    }
    // Clients name the type also of bodies that they leave out.
    if (text === '') return done(null, undefined);
    parse(request, text, (error, body) => done(error === null ? error : notJson(text, error), body));
  });
}

/** Routes that take forms time those themselves. */
function timeBody(request: FastifyRequest): void {
  const { raw, id } = request;
  const { 'content-length': length, 'transfer-encoding': encoding } = raw.headers;
  if ((length === undefined && encoding === undefined) || takesForm(request)) return;
  const timer = setTimeout(() => refuseBytes({ name: 'Error', message: 'late', code: 'ERR_HTTP_REQUEST_TIMEOUT' }, raw.socket, id), BODY_MS_MAX);
  raw.once('end', () => clearTimeout(timer)).once('close', () => clearTimeout(timer));
}

/** The parser doesn't say what it found; what is JSON all the same has a key that reaches for prototypes. */
function notJson(text: string, cause: Error): WeftError {
  try {
    JSON.parse(text);
  } catch (error) {
    return new WeftError('invalid_value', `The body is not valid JSON: ${(error as Error).message}.`, { cause });
  }
  return new WeftError('invalid_value', "The body has a key '__proto__' or 'constructor' with 'prototype' in it. Remove it.", { cause });
}

/** URLs that the router can't read: they reach no filter. */
export function refuseUrl(thrown: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const error = asWeftError(thrown);
  void reply.status(error.kind.status).header('x-request-id', request.id).send(errorBody(error));
}

const UNREADABLE: Record<string, [number, ErrorCode, string]> = {
  HPE_HEADER_OVERFLOW: [431, 'request_too_large', 'The request\'s headers are larger than this server accepts.'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'invalid_value', 'The request did not arrive in time.'],
};
const MALFORMED: [number, ErrorCode, string] = [400, 'invalid_value', 'The request is not valid HTTP.'];

/** Bytes that are no request: they reach no route, so the answer is written by hand. */
export function refuseBytes(error: NodeJS.ErrnoException, socket: Socket, requestId: string): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const [status, code, message] = UNREADABLE[error.code ?? ''] ?? MALFORMED;
  const body = JSON.stringify(errorBody(new WeftError(code, message)));
  socket.write([
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`, `x-request-id: ${requestId}`, 'connection: close', 'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`, '', body,
  ].join('\r\n'));
  socket.destroySoon();
}
