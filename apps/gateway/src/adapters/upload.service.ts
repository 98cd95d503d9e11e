/** An upload on its way: from the client's form into the registry, part by part, at the speed of the slower of both. */
import { once } from 'node:events';
import type { ClientWritableStream } from '@grpc/grpc-js';
import { Injectable } from '@nestjs/common';
import { WeftError, type registryV1 } from '@weft/contracts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { actorOf } from '../auth.guard.js';
import { parse } from '../dto/parse.js';
import { InFlight } from '../in-flight.js';
import type { Principal } from '../keys.js';
import { RegistryClient } from '../registry-client.js';
import { watchBody } from './body-watch.js';
import { readForm } from './form-parts.js';
import { uploadHeaders } from './dto.js';
import { PARTS_MAX, UploadForm, type Send } from './upload-form.js';

/** A registry that lives takes the next bytes, and answers a commit, within this time. */
const STALL_MS_MAX = 60_000;

@Injectable()
export class UploadService {
  constructor(private readonly registry: RegistryClient, private readonly inFlight: InFlight) {}

  /**
   * Resolves when the registry has the version. Whatever else ends it, the registry keeps nothing.
   * Throws invalid_value with the field's name, request_too_large, cancelled, and what the registry throws, as soon as it does.
   */
  async take(request: FastifyRequest, reply: FastifyReply, caller: Principal): Promise<registryV1.UploadedVersion> {
    const { 'Idempotency-Key': idempotencyKey = '' } = parse(uploadHeaders, { 'Idempotency-Key': request.headers['idempotency-key'] });
    const abort = this.inFlight.enter();
    const { signal } = abort;
    const { stream, answer } = this.registry.upload();
    const fail = (error: unknown): void => abort.abort(error);
    stream.on('error', fail);
    answer.catch(fail);
    const onClose = (): void => { if (!reply.raw.writableFinished) fail(new WeftError('cancelled', 'The client hung up.')); };
    if (reply.raw.destroyed) onClose();
    else reply.raw.once('close', onClose);
    watchBody(request.raw, fail);
    try {
      const send = sender(stream, signal);
      await send({ $case: 'begin', value: { actor: actorOf(caller, request), tenantId: caller.tenant, idempotencyKey } });
      const form = new UploadForm(send);
      await readForm(request.raw, PARTS_MAX, part => form.take(part), signal);
      await form.commit();
      stream.end();
      return await within(answer, signal);
    } catch (error) {
      stream.cancel();
      throw error;
    } finally {
      this.inFlight.leave(abort);
    }
  }
}

/** Parts as fast as the registry takes them. */
function sender(stream: ClientWritableStream<registryV1.UploadPart>, signal: AbortSignal): Send {
  return async body => {
    signal.throwIfAborted();
    if (!stream.write({ body })) await within(once(stream, 'drain'), signal);
  };
}

/** Throws the signal's reason, or registry_lost when it takes too long. */
async function within<T>(outcome: Promise<T>, signal: AbortSignal): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let onAbort = (): void => undefined;
  const end = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason as Error);
    timer = setTimeout(() => reject(new WeftError('registry_lost', 'the registry does not take the upload at the moment; try again', { retryAfterMs: 1000 })), STALL_MS_MAX);
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
  });
  try {
    return await Promise.race([outcome, end]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}
