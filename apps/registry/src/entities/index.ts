import { Adapter } from './adapter.js';
import { Alias } from './alias.js';
import { ApiKey } from './api-key.js';
import { Artifact } from './artifact.js';
import { Audit } from './audit.js';
import { Base } from './base.js';
import { Idempotency } from './idempotency.js';
import { Member } from './member.js';
import { OutboxRow } from './outbox.js';
import { Share } from './share.js';
import { Tenant } from './tenant.js';
import { Usage } from './usage.js';
import { Version } from './version.js';

export { Adapter, Alias, ApiKey, Artifact, Audit, Base, Idempotency, Member, OutboxRow, Share, Tenant, Usage, Version };
export { SCOPES, type Scope } from './api-key.js';
export type { VersionFile, VersionStatus } from './version.js';

export const ENTITIES = [Tenant, ApiKey, Base, Adapter, Version, Alias, Share, Artifact, Idempotency, Usage, OutboxRow, Audit, Member];
