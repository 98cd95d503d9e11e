/** The services of docker-compose.yml as plain processes: its commands and its environment, with this machine's addresses in place of containers'. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

const REPO = fileURLToPath(new URL('../..', import.meta.url));

export interface ComposeService { command: string[]; environment: Record<string, string>; depends_on?: unknown }

/** The file with its variables' defaults put in. */
export function readCompose(): Record<string, ComposeService> {
  const text = readFileSync(`${REPO}/docker-compose.yml`, 'utf8').replace(/\$\{\w+:-([^}]*)\}/g, (_, fallback: string) => fallback);
  return (parse(text, { merge: true }) as { services: Record<string, ComposeService> }).services;
}

/** What stands in for container names, volumes and database names: each occurrence of a key becomes its value. */
export type Replacements = readonly (readonly [string, string])[];

export class ServiceProcess {
  readonly lines: string[] = [];
  readonly child: ChildProcess;
  readonly exited: Promise<number | NodeJS.Signals>;

  constructor(readonly name: string, { command, environment }: ComposeService, replacements: Replacements) {
    const replaced = (text: string): string => replacements.reduce((result, [from, to]) => result.replaceAll(from, to), text);
    const variables = Object.entries(environment).map(([key, value]) => [key, replaced(String(value))]);
    const inherited = Object.entries(process.env).filter(([key]) => !key.startsWith('WEFT_'));
    this.child = spawn(command[0] === 'node' ? process.execPath : command[0]!, command.slice(1), {
      cwd: REPO, env: Object.fromEntries([...inherited, ...variables]) as NodeJS.ProcessEnv, stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.child.stdout!, this.child.stderr!]) createInterface({ input: stream }).on('line', line => this.lines.push(line));
    this.exited = once(this.child, 'close').then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);
  }

  stop(): Promise<number | NodeJS.Signals> {
    this.child.kill('SIGTERM');
    return this.exited;
  }
}
