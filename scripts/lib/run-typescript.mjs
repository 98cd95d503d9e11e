// @ts-check
// `node --import .../run-typescript.mjs main.ts`: TypeScript outside the workspaces (benches, the simulator) runs from
// source. `@weft/*` is what was built, as in production.
import { register } from 'node:module';

register('./typescript-hooks.mjs', import.meta.url);
process.setSourceMapsEnabled(true);
