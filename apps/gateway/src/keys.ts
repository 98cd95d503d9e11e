/** Who may do what: the two keys of this start. Compared as HMACs, so that no comparison tells how much of a guess was right. */
import { createHmac, randomBytes } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { WeftError } from '@weft/contracts';
import type { GatewayConfig } from './config.js';
import { GATEWAY_CONFIG } from './tokens.js';

export type Scope = 'inference' | 'adapters:write' | 'admin';

export interface Principal { tenant: string; scopes: ReadonlySet<Scope> }

/** Longer ones are nobody's key. */
const KEY_CHARS_MAX = 512;
/** There is one tenant; an admin may name it by x-weft-tenant. */
const TENANT = 'default';

@Injectable()
export class Keys {
  readonly #pepper = randomBytes(32);
  readonly #principals = new Map<string, Principal>();

  constructor(@Inject(GATEWAY_CONFIG) { tenantKey, adminKey }: Pick<GatewayConfig, 'tenantKey' | 'adminKey'>) {
    this.#principals.set(this.#hash(tenantKey), { tenant: TENANT, scopes: new Set(['inference', 'adapters:write']) });
    this.#principals.set(this.#hash(adminKey), { tenant: TENANT, scopes: new Set(['inference', 'adapters:write', 'admin']) });
  }

  /** Throws invalid_api_key. */
  authenticate(authorization: string | undefined, actsFor: string | undefined): Principal {
    const [, key] = /^Bearer +(\S+) *$/i.exec(authorization ?? '') ?? [];
    if (key === undefined) throw new WeftError('invalid_api_key', 'No API key: send the header «Authorization: Bearer <key>».');
    const principal = key.length <= KEY_CHARS_MAX ? this.#principals.get(this.#hash(key)) : undefined;
    if (principal === undefined) throw new WeftError('invalid_api_key', 'This API key is not known here.');
    if (actsFor !== undefined && principal.scopes.has('admin') && actsFor !== TENANT) {
      throw new WeftError('not_found', `There is no tenant ${JSON.stringify(actsFor)}.`, { param: 'x-weft-tenant' });
    }
    return principal;
  }

  #hash(key: string): string { return createHmac('sha256', this.#pepper).update(key).digest('base64'); }
}
