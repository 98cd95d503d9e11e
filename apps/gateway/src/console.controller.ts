import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, extname, join } from 'node:path';
import { Controller, Get, Param, Res } from '@nestjs/common';
import { WeftError } from '@weft/contracts';
import type { FastifyReply } from 'fastify';
import { gzipSync } from 'node:zlib';
import { Public } from './auth.guard.js';

const FOLDER = join(dirname(createRequire(import.meta.url).resolve('@weft/console/package.json')), 'dist');
const PAGE = 'index.html';

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml', '.map': 'application/json',
};

/** Its own files and this API, nothing inline, nothing from elsewhere. */
const HEADERS = {
  'content-security-policy': [
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'", "worker-src 'self'",
    "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
  ].join('; '),
  'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer', 'cross-origin-opener-policy': 'same-origin',
};

interface Served { type: string; bytes: Buffer; packed: Buffer }

/** The admin console's built files. What it shows comes of the API, with the key that a person signs in with. */
@Controller()
@Public()
export class ConsoleController {
  readonly #files = new Map<string, Served>();

  constructor() {
    if (!existsSync(join(FOLDER, PAGE))) return;
    for (const name of [PAGE, ...readdirSync(join(FOLDER, 'assets')).map(file => `assets/${file}`)]) {
      const bytes = readFileSync(join(FOLDER, name));
      this.#files.set(name, { type: TYPES[extname(name)] ?? 'application/octet-stream', bytes, packed: gzipSync(bytes) });
    }
  }

  @Get()
  async root(@Res() reply: FastifyReply): Promise<void> { await reply.redirect('/console', 302); }

  /** Every path of the console is the one page: it reads the rest itself. */
  @Get(['console', 'console/*'])
  async page(@Param('*') path: string | undefined, @Res() reply: FastifyReply): Promise<void> {
    const asset = path?.startsWith('assets/') ?? false;
    const file = this.#files.get(asset ? path! : PAGE);
    if (file === undefined) throw new WeftError('not_found', asset ? `There is no file ${JSON.stringify(path)} of the console.` : 'This server was built without its console: run npm run build.');
    const { type, bytes, packed } = file;
    const zipped = /\bgzip\b/.test(String(reply.request.headers['accept-encoding'] ?? ''));
    // Names of assets hold a hash of what is in them.
    reply.headers(HEADERS).type(type).header('cache-control', asset ? 'public, max-age=31536000, immutable' : 'no-cache').header('vary', 'accept-encoding');
    if (zipped) reply.header('content-encoding', 'gzip');
    await reply.send(zipped ? packed : bytes);
  }
}
