/** Rewrites what is generated from proto/ (`npm run generate`), or writes it to the folder that is given. */
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * `oneof` as a tagged union and 64-bit integers as bigint: what the compiler can check. Services as plain definitions,
 * so that this leaf needs no gRPC; see src/grpc.ts.
 */
const OPTIONS = [
  'outputServices=generic-definitions', 'oneof=unions-value', 'forceLong=bigint', 'importSuffix=.js', 'esModuleInterop=true',
  'outputJsonMethods=false', 'unrecognizedEnum=false', 'useExactTypes=false',
];

const out = process.argv[2] === undefined ? fileURLToPath(new URL('src/gen', import.meta.url)) : resolve(process.argv[2]);
const packages = createRequire(import.meta.url);
const template = {
  version: 'v2',
  plugins: [{ local: [process.execPath, packages.resolve('ts-proto/protoc-gen-ts_proto')], out, opt: OPTIONS }],
};
execFileSync(process.execPath, [packages.resolve('@bufbuild/buf/bin/buf'), 'generate', '--template', JSON.stringify(template), 'proto'], {
  cwd: fileURLToPath(new URL('.', import.meta.url)),
  stdio: ['ignore', 'inherit', 'inherit'],
  env: { ...process.env, BUF_CACHE_DIR: join(tmpdir(), 'weft-buf') },     // home may not be writable
});
