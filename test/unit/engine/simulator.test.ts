import { expect, test } from 'vitest';
import { runWorld } from '../../sim/world.js';

// Fifty more run behind `npm run sim`.
test.each(Array.from({ length: 20 }, (_, i) => i + 1))('world %i keeps its promises', async seed => {
  const report = await runWorld(seed);
  expect(report.done + report.cancelled + report.failed + report.refused).toBe(report.requests);
});
