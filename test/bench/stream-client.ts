/** Clients of a stream that count its tokens as they come: one that costs next to nothing, and the one that people use. */
import { connect } from 'node:net';
import OpenAI from 'openai';

export interface StreamShot { url: string; key: string; body: { model: string | undefined; prompt: number[]; max_tokens: number; ignore_eos: true; temperature: 0 } }

/** Resolves at the end of the stream. Throws what is no stream. */
export type StreamClient = (shot: StreamShot, onTokens: (count: number) => void) => Promise<void>;

const BUFFER_BYTES = 65_536;
const IDS = '"token_ids":[', COMMA = 0x2c, CLOSED = 0x5d;

/** Looks for ids in the bytes as they are, in a buffer that is used again. */
const bare: StreamClient = ({ url, key, body }, onTokens) => new Promise((resolve, reject) => {
  const { hostname, port } = new URL(url);
  const json = JSON.stringify({ ...body, stream: true, return_token_ids: true });
  const buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  let begun = false, done = false;
  /** What was read before, if the last read ended inside a line. */
  let kept = 0;
  const onRead = (length: number): boolean => {
    const read = buffer.subarray(0, kept + length), end = read.lastIndexOf('\n') + 1;
    if (!begun && !read.subarray(0, end).toString('latin1').startsWith('HTTP/1.1 200')) socket.destroy(new Error(read.toString('utf8')));
    begun = true;
    const lines = read.subarray(0, end);
    const count = countIds(lines);
    if (count > 0) onTokens(count);
    if (lines.includes('data: [DONE]')) done = true;
    read.copyWithin(0, end);
    kept = read.length - end;
    return true;
  };
  const socket = connect({ port: Number(port), host: hostname, onread: { buffer: () => buffer.subarray(kept), callback: onRead } });
  socket.on('error', reject).on('close', () => { if (done) resolve(); else reject(new Error('the stream broke off')); });
  socket.write(`POST /v1/completions HTTP/1.1\r\nhost: ${hostname}\r\nauthorization: Bearer ${key}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${json.length}\r\n\r\n${json}`);
});

function countIds(lines: Buffer): number {
  let count = 0;
  for (let at = lines.indexOf(IDS); at >= 0; at = lines.indexOf(IDS, at)) {
    at += IDS.length;
    if (lines[at] === CLOSED) continue;
    count++;
    for (; lines[at] !== CLOSED; at++) if (lines[at] === COMMA) count++;
  }
  return count;
}

/** The official one. */
const openai: StreamClient = async ({ url, key, body }, onTokens) => {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  const stream = await client.completions.create({ ...body, stream: true, return_token_ids: true } as unknown as OpenAI.CompletionCreateParamsStreaming);
  for await (const { choices } of stream) {
    const count = choices.reduce((sum, choice) => sum + (choice as unknown as { token_ids: number[] }).token_ids.length, 0);
    if (count > 0) onTokens(count);
  }
};

export const STREAM_CLIENTS = { bare, openai };
