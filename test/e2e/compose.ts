/** The services of docker-compose.yml as plain processes: its commands and its environment, with this machine's addresses in place of containers'. */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

const REPO = fileURLToPath(new URL('../..', import.meta.url));

export interface ComposeService {
  command: string[]; environment: Record<string, string>; image: string; user: string; read_only?: boolean; cap_drop?: string[]; volumes?: string[]; restart?: string; profiles?: string[];
  depends_on?: string[] | Record<string, { condition: string }>; healthcheck?: { test: string[] }; deploy?: { resources: { limits: { memory: string } } };
}
export interface ComposeFile { services: Record<string, ComposeService>; volumes: Record<string, unknown> }

/** The file with its variables' defaults put in. */
export function readCompose(): ComposeFile {
  const text = readFileSync(`${REPO}/docker-compose.yml`, 'utf8').replace(/\$\{\w+:-([^}]*)\}/g, (_, fallback: string) => fallback);
  return parse(text, { merge: true }) as ComposeFile;
}

/** Everything that the image holds, as deploy/assemble.sh and `npm prune --omit=dev` leave it: hard links, the rest is not there. */
export function assembleImage(to: string): void {
  execFileSync(`${REPO}/deploy/assemble.sh`, [to], { cwd: REPO });
  execFileSync('cp', ['-al', `${REPO}/node_modules`, to]);
  const { packages } = JSON.parse(readFileSync(`${REPO}/package-lock.json`, 'utf8')) as { packages: Record<string, { dev?: boolean }> };
  for (const [path, { dev }] of Object.entries(packages)) if (dev === true) rmSync(join(to, path), { recursive: true, force: true });
}

/** What stands in for container names, volumes and database names: each occurrence of a key becomes its value. */
export type Replacements = readonly (readonly [string, string])[];

const replace = (replacements: Replacements, text: string): string => replacements.reduce((result, [from, to]) => result.replaceAll(from, to), text);

/** Whether the check of a service's health finds it well. */
export function isHealthy({ healthcheck }: ComposeService, replacements: Replacements): boolean {
  const [how, program, ...args] = healthcheck!.test;
  if (how !== 'CMD' || program !== 'node') throw new Error(`not a check that can be run here: ${healthcheck!.test.join(' ')}`);
  return spawnSync(process.execPath, args.map(arg => replace(replacements, arg)), { timeout: 10_000 }).status === 0;
}

export class ServiceProcess {
  readonly lines: string[] = [];
  readonly child: ChildProcess;
  readonly exited: Promise<number | NodeJS.Signals>;

  /** image: the folder that stands for the container's. */
  constructor(readonly name: string, { command, environment }: ComposeService, readonly replacements: Replacements, image: string) {
    const variables = Object.entries(environment).map(([key, value]) => [key, replace(replacements, String(value))]);
    const inherited = Object.entries(process.env).filter(([key]) => !key.startsWith('WEFT_'));
    this.child = spawn(command[0] === 'node' ? process.execPath : command[0]!, command.slice(1), {
      cwd: image, env: Object.fromEntries([...inherited, ...variables]) as NodeJS.ProcessEnv, stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.child.stdout!, this.child.stderr!]) createInterface({ input: stream }).on('line', line => this.lines.push(line));
    this.exited = once(this.child, 'close').then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);
  }

  stop(): Promise<number | NodeJS.Signals> {
    this.child.kill('SIGTERM');
    return this.exited;
  }
}
