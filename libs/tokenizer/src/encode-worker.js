/** The thread that encodes long texts: one job at a time, in order. Its data: {bytes of tokenizer.json, pipeline}. */
import { parentPort, workerData } from 'node:worker_threads';
import { Encoder } from './encoder.js';

const { bytes, pipeline } = workerData;
const encoder = new Encoder(JSON.parse(Buffer.from(bytes).toString('utf8')), pipeline);

parentPort.on('message', ({ id, input }) => {
  try {
    const output = Uint32Array.from(encoder.encode(input));
    parentPort.postMessage({ id, output }, [output.buffer]);
  } catch (error) {
    parentPort.postMessage({ id, error: String(error) });
  }
});
