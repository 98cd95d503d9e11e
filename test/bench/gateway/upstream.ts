/** A plain OpenAI upstream for peers that are gateways only: the first of 32 chunks at once, the others together 20 ms later. */
import { createServer } from 'node:http';

const CHUNKS = 32;
const REST_MS = 20;
const chunk = (content: string, finish: string | null): string =>
  `data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'sim', choices: [{ index: 0, delta: { content }, finish_reason: finish }] })}\n\n`;

const server = createServer((request, response) => {
  request.resume().on('end', () => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(chunk('a', null));
    setTimeout(() => response.end(`${Array.from({ length: CHUNKS - 1 }, (_, i) => chunk(' a', i === CHUNKS - 2 ? 'length' : null)).join('')}data: [DONE]\n\n`), REST_MS);
  });
});
server.listen(0, '127.0.0.1', () => process.send!({ address: `127.0.0.1:${(server.address() as { port: number }).port}` }));
process.on('disconnect', () => process.exit());
