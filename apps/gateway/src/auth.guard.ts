import { createParamDecorator, Injectable, SetMetadata, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { WeftError, type registryV1 } from '@weft/contracts';
import type { FastifyRequest } from 'fastify';
import { Keys, type Principal, type Scope } from './keys.js';

const PUBLIC = 'weft:public';
const SCOPE = 'weft:scope';
const principals = new WeakMap<FastifyRequest, Principal>();

/** Needs no key. */
export const Public = (): MethodDecorator & ClassDecorator => SetMetadata(PUBLIC, true);
export const RequireScope = (scope: Scope): MethodDecorator & ClassDecorator => SetMetadata(SCOPE, scope);

/** Whose key the request came with. */
export const Caller = createParamDecorator((_: unknown, context: ExecutionContext): Principal =>
  principals.get(context.switchToHttp().getRequest<FastifyRequest>())!);

/** Who does it, for the audit log. */
export const actorOf = ({ tenant, keyId }: Principal, { id }: Pick<FastifyRequest, 'id'>): registryV1.Actor => ({ tenantId: tenant, keyId, requestId: id });

/** Every route needs a key unless it is marked public. */
@Injectable()
export class AuthGuard implements CanActivate {
  constructor(private readonly reflector: Reflector, private readonly keys: Keys) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const places = [context.getHandler(), context.getClass()];
    if (this.reflector.getAllAndOverride<boolean | undefined>(PUBLIC, places)) return true;
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const tenant = request.headers['x-weft-tenant'];
    const principal = await this.keys.authenticate(request.headers.authorization, Array.isArray(tenant) ? tenant[0] : tenant);
    const scope = this.reflector.getAllAndOverride<Scope | undefined>(SCOPE, places);
    if (scope !== undefined && !principal.scopes.has(scope)) {
      throw new WeftError('insufficient_scope', `This key does not have the scope ${scope}.`);
    }
    principals.set(request, principal);
    return true;
  }
}
