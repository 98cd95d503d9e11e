/** docker-compose.yml, as far as it can be judged without containers. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readCompose, type ComposeService } from '../../e2e/compose.js';

const ROOT = join(import.meta.dirname, '../../..');
const text = readFileSync(join(ROOT, 'docker-compose.yml'), 'utf8');
const { services, volumes } = readCompose();
/** One that does its work and ends. */
const isTask = (name: string): boolean => ['migrate', 's3-volume'].includes(name);
const LINTER = process.env['WEFT_TEST_COMPOSE_LINTER'] ?? 'check-jsonschema';

test('it is as Compose\'s schema wants it', ctx => {
  const { error, status, stdout } = spawnSync(LINTER, ['--builtin-schema', 'vendor.compose-spec', join(ROOT, 'docker-compose.yml')], { encoding: 'utf8' });
  ctx.skip((error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT', 'needs check-jsonschema (pip install check-jsonschema), or what WEFT_TEST_COMPOSE_LINTER names');
  expect(status, stdout).toBe(0);
});

test.each(Object.entries(services))('%s: an exact image, no root, nothing to write to but volumes, a limit of memory, its health', (name: string, service: ComposeService) => {
  expect(service.image).toMatch(/:v?\d+\.\d+/);
  if (name !== 's3-volume') {
    expect(service.user).toMatch(/^[1-9]\d*:[1-9]\d*$/);
    expect(service.read_only).toBe(true);
  }
  expect(service.cap_drop).toEqual(['ALL']);
  expect(service.deploy?.resources.limits.memory).toMatch(/^\d+[mg]$/);
  if (!isTask(name)) expect(service.healthcheck?.test[0]).toBe('CMD');
  for (const volume of service.volumes ?? []) {
    const [source = '', , mode] = volume.split(':');
    if (source.startsWith('.')) expect([existsSync(join(ROOT, source)), mode], volume).toEqual([true, 'ro']);
    else expect(Object.keys(volumes), volume).toContain(source);
  }
});

test('whom a service waits for is there, and can be well or done', () => {
  for (const [name, { depends_on: needs = [] }] of Object.entries(services)) {
    for (const [other, { condition }] of Array.isArray(needs) ? needs.map(one => [one, { condition: 'service_started' }] as const) : Object.entries(needs)) {
      expect(Object.keys(services), name).toContain(other);
      if (condition === 'service_completed_successfully') expect(isTask(other), `${name} on ${other}`).toBe(true);
      if (condition === 'service_healthy') expect(services[other]!.healthcheck, `${name} on ${other}`).toBeDefined();
    }
  }
});

test('.env.example has every variable, and no other', () => {
  const used = new Set([...text.matchAll(/\$\{(\w+):-/g)].map(([, name]) => name));
  const named = readFileSync(join(ROOT, '.env.example'), 'utf8').split('\n').filter(line => /^\w+=/.test(line)).map(line => line.split('=')[0]);
  expect(named.sort()).toEqual([...used].sort());
});

test('versions and images are those of this release; a build takes stages that there are', () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  for (const { image } of Object.values(services).filter(service => service.image.startsWith('weft'))) expect(image).toMatch(new RegExp(`:${version}$`));
  const dockerfile = readFileSync(join(ROOT, 'Dockerfile'), 'utf8');
  const stages = [...dockerfile.matchAll(/^FROM \S+ AS (\S+)$/gm)].map(([, stage]) => stage);
  for (const [, target] of text.matchAll(/target: (weft[\w-]*)/g)) expect(stages).toContain(target);
  for (const [, image] of dockerfile.matchAll(/^FROM (\S+)/gm)) expect(stages.includes(image) || /:[\d.]+-/.test(image!), image).toBe(true);
  for (const [, from] of dockerfile.matchAll(/--from=(\S+)/g)) expect(stages).toContain(from);
});
