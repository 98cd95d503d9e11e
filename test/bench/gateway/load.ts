/** An open-loop HTTP load: requests leave at their times whether or not earlier ones have been answered. */
import { Agent, request as httpRequest, type ClientRequest } from 'node:http';

export interface Shot {
  url: string; path: string; headers: Record<string, string>; body: string;
}

export interface Timing { firstByteMs: number; endMs: number; status: number }

export const percentile = (values: readonly number[], share: number): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
};

export class Load {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: Infinity });

  /** One request. The first byte is the first of the body. */
  shoot({ url, path, headers, body }: Shot, onData?: (chunk: Buffer) => void): Promise<Timing> {
    return new Promise((resolve, reject) => {
      const began = performance.now();
      const request: ClientRequest = httpRequest(url + path, { method: body === '' ? 'GET' : 'POST', agent: this.#agent, headers }, response => {
        let firstByteMs = NaN;
        response.on('data', (chunk: Buffer) => {
          if (Number.isNaN(firstByteMs)) firstByteMs = performance.now() - began;
          onData?.(chunk);
        });
        response.on('end', () => resolve({ firstByteMs, endMs: performance.now() - began, status: response.statusCode! }));
        response.on('error', reject);
      });
      request.on('error', reject);
      request.end(body);
    });
  }

  close(): void { this.#agent.destroy(); }
}

/** `rate` shots a second for `seconds`, whether or not earlier ones were answered; failures count with NaN times and status 0. */
export async function steady(shoot: () => Promise<Timing>, rate: number, seconds: number): Promise<Timing[]> {
  const total = Math.round(rate * seconds);
  const began = performance.now();
  const timings: Promise<Timing>[] = [];
  while (timings.length < total) {
    const due = Math.min(total, Math.floor((performance.now() - began) / 1000 * rate) + 1);
    while (timings.length < due) timings.push(shoot().catch(() => ({ firstByteMs: NaN, endMs: NaN, status: 0 })));
    await new Promise(resolve => { setTimeout(resolve, 1); });
  }
  return Promise.all(timings);
}

/** As many shots as `width` clients that each wait for their answer can make in `seconds`. */
export async function closedLoop(shoot: () => Promise<Timing>, width: number, seconds: number): Promise<Timing[]> {
  const end = performance.now() + seconds * 1000;
  const timings: Timing[] = [];
  await Promise.all(Array.from({ length: width }, async () => { while (performance.now() < end) timings.push(await shoot()); }));
  return timings;
}
