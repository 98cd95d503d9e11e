import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Controller, Get, Header, Param, Res } from '@nestjs/common';
import { WeftError } from '@weft/contracts';
import type { FastifyReply } from 'fastify';
import { Public } from '../auth.guard.js';
import { openApiDocument } from './openapi.js';

const FOLDER = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
const JAVASCRIPT = 'text/javascript; charset=utf-8';

const PAGE = `<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Weft API</title>
  <link rel="stylesheet" href="/docs/swagger-ui.css">
  <link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
  <script src="/docs/swagger-ui-bundle.js" defer></script>
  <script src="/docs/start.js" defer></script>
</head>
<body><div id="page"></div></body>
</html>
`;
/** No validator: it would send the document to somebody else's server. */
const START = "SwaggerUIBundle({ url: '/openapi.json', dom_id: '#page', deepLinking: true, validatorUrl: null });\n";

/** The page's own files, nothing inline, nothing from elsewhere. Its pictures are data in the stylesheet. */
const POLICY = [
  "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'",
  "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
].join('; ');

interface Served { type: string; bytes: () => Buffer }
const packaged = (name: string, type: string): [string, Served] => [name, { type, bytes: () => readFileSync(join(FOLDER, name)) }];

/** The document for programs and for people. */
@Controller()
@Public()
export class DocsController {
  #document: string | undefined;
  readonly #files = new Map<string, Served>([
    packaged('swagger-ui.css', 'text/css; charset=utf-8'), packaged('swagger-ui-bundle.js', JAVASCRIPT), packaged('favicon-32x32.png', 'image/png'),
    ['start.js', { type: JAVASCRIPT, bytes: () => Buffer.from(START) }],
  ]);

  @Get('openapi.json') @Header('content-type', 'application/json; charset=utf-8')
  document(): string { return this.#document ??= JSON.stringify(openApiDocument()); }

  @Get('docs') @Header('content-type', 'text/html; charset=utf-8') @Header('content-security-policy', POLICY)
  @Header('x-content-type-options', 'nosniff') @Header('referrer-policy', 'no-referrer')
  page(): string { return PAGE; }

  @Get('docs/:file') @Header('x-content-type-options', 'nosniff') @Header('cache-control', 'public, max-age=3600')
  async file(@Param('file') name: string, @Res() reply: FastifyReply): Promise<void> {
    const file = this.#files.get(name);
    if (file === undefined) throw new WeftError('not_found', `There is no file ${JSON.stringify(name)} of this page.`);
    await reply.type(file.type).send(file.bytes());
  }
}
