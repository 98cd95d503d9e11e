/** The thread that renders templates which nobody here vouches for: one job at a time, in order. */
import { parentPort } from 'node:worker_threads';
import { TemplateRefusal, TemplateRunner } from './template-run.js';

const runner = new TemplateRunner();

parentPort.on('message', ({ id, input }) => {
  try {
    parentPort.postMessage({ id, output: runner.run(input) });
  } catch (error) {
    parentPort.postMessage({ id, error: error.message, details: error instanceof TemplateRefusal });
  }
});
