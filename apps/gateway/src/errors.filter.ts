import { Catch, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { asWeftError, errorBody, errorHeaders } from './errors.js';

/** Everything that any handler, guard or parser throws ends here, and looks the same to the client. */
@Catch()
export class ErrorsFilter implements ExceptionFilter {
  catch(thrown: unknown, host: ArgumentsHost): void {
    const error = asWeftError(thrown);
    if (error.code === 'internal_error') console.error(thrown);
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    // A client that hung up is told nothing.
    if (reply.sent || reply.raw.destroyed) return;
    void reply.status(error.kind.status).headers(errorHeaders(error)).send(errorBody(error));
  }
}
