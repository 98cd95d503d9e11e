/** Routes that take a form: their body is read by the route itself, as it comes, and not bounded by what memory holds. */
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { WeftError } from '@weft/contracts';
import type { FastifyInstance, FastifyRequest } from 'fastify';

/** All files of an upload together, as the registry bounds them, with the fields and what stands between parts. */
export const FORM_BYTES_MAX = 16 * 2 ** 30 + 2 ** 20;
/** How long a client may still send behind an answer that came early, so that it gets to reading it. */
const DISCARD_MS_MAX = 10_000;

/** The configuration of a route that takes a form. */
export const FORM = { form: true } as const;

export const takesForm = ({ routeOptions }: FastifyRequest): boolean => (routeOptions.config as { form?: boolean }).form === true;

export const formTooLarge = (): WeftError => new WeftError('request_too_large', `The form is larger than ${FORM_BYTES_MAX} bytes.`, { limit: FORM_BYTES_MAX });

/** Forms for those routes, for no others; refused by their head where that tells enough. */
export function acceptForms(fastify: FastifyInstance): void {
  fastify.addContentTypeParser('multipart/form-data', (request, _body, done) => {
    done(takesForm(request) ? null : new WeftError('unsupported_media_type', 'The body must be JSON, not a form: send the header «Content-Type: application/json».'));
  });
  fastify.addHook('preParsing', async (request, _reply, payload) => {
    if (!takesForm(request)) return payload;
    const { 'content-type': type = '', 'content-length': length = '0' } = request.headers;
    if (!/^multipart\/form-data\s*(;|$)/i.test(type)) throw new WeftError('unsupported_media_type', 'The body must be a form: send it as «Content-Type: multipart/form-data».');
    if (Number(length) > FORM_BYTES_MAX) throw formTooLarge();
    return payload;
  });
  fastify.addHook('onSend', async (request, reply, payload) => {
    if (!takesForm(request) || request.raw.complete || typeof payload !== 'string') return payload;
    // A connection with the rest of a form in it is good for nothing else.
    reply.header('connection', 'close').header('content-length', Buffer.byteLength(payload));
    return Readable.from(answerEarly(payload, request.raw), { objectMode: false });
  });
}

/** The whole answer at once. Closing with it, bytes unread, would reset the connection before the client has looked. */
async function* answerEarly(answer: string, body: IncomingMessage): AsyncGenerator<string, void> {
  yield answer;
  await new Promise<void>(resolve => {
    const timer = setTimeout(resolve, DISCARD_MS_MAX);
    body.once('close', () => { clearTimeout(timer); resolve(); }).resume();
  });
}
