// @ts-check
// node scripts/ci-verdict.mjs STATUS: judges what `npm test`, which ended with STATUS, left in $WEFT_TEST_RESULTS.
import { readFileSync, readdirSync } from 'node:fs';
import { inRoot } from './lib/checkout.mjs';
import { judge, parseAllowedSkips } from './lib/verdict.mjs';

const status = Number(process.argv[2]);
const folder = process.env.WEFT_TEST_RESULTS ?? '.';
const results = readdirSync(folder)
  .filter(name => name.endsWith('.json'))
  .map(name => JSON.parse(readFileSync(`${folder}/${name}`, 'utf8')));
const { lines, failed } = judge(results, parseAllowedSkips(readFileSync(inRoot('.ci', 'allowed-skips.txt'), 'utf8')), status);
for (const line of lines) console.log(line);
process.exitCode = failed ? 1 : 0;
