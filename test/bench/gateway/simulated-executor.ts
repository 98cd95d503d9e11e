/**
 * An executor that computes nothing: it joins the registry, accepts whatever it is to prepare, and answers every Submit at a
 * given pace. So that what is measured is the way to an executor and back.
 *
 * Forked with WEFT_REGISTRY_ADDRESS, WEFT_LINK_TOKEN, WEFT_MODEL_NAME, WEFT_BENCH_DESCRIPTION (JSON: baseDigest, vocabSize, geometry)
 * and WEFT_BENCH_STEP_MS: 0 answers with the first token at once and the others together REST_MS later; otherwise every running
 * request gets a token each so many ms. The token of step s is s modulo the vocabulary; on a message 'steps' it tells when each was sent.
 */
import { randomUUID } from 'node:crypto';
import { Client, credentials, Metadata, Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import { executorService, executorsService, executorV1, GATEWAY_METADATA, HEARTBEAT_MS, LINK_OPTIONS, TOKEN_METADATA, type registryV1 } from '@weft/contracts';

const REST_MS = 20;
const env = process.env as Record<string, string>;
const stepMs = Number(env['WEFT_BENCH_STEP_MS']);
const { baseDigest, vocabSize, geometry } = JSON.parse(env['WEFT_BENCH_DESCRIPTION']!) as { baseDigest: string; vocabSize: number; geometry: string };
const executorId = randomUUID();
type Call = ServerDuplexStream<executorV1.Up, executorV1.Down>;
interface Running { submit: executorV1.Submit; call: Call; sent: number }
const running = new Map<string, Running>();
const sentAtMs: number[] = [];

const description = executorV1.Description.fromPartial({ baseDigest, vocabSize, executorId, device: 'simulated', maxModelLen: 4096, maxTopLogprobs: 20, build: '0', pageBytes: 4096, adapterSlots: 512 });

/** Tokens that end nothing and decode to something: the first few hundred ids are special in some models. */
const token = (step: number): number => 100 + (step % Math.min(10_000, vocabSize - 100));

function frame(requests: Running[], tokens: number[], step: number): void {
  const byCall = new Map<Call, executorV1.Step>();
  for (const request of requests) {
    const { submit, call } = request;
    const own = tokens.slice(0, submit.maxTokens - request.sent);
    request.sent += own.length;
    const ended = request.sent === submit.maxTokens;
    const value = byCall.get(call) ?? { step: BigInt(step), lanes: [], tokens: [], events: [] };
    byCall.set(call, value);
    if (own.length === 1 && !ended) {
      value.lanes.push(submit.firstLane);
      value.tokens.push(own[0]!);
    } else {
      value.events.push(executorV1.TokenEvent.fromPartial({ requestId: submit.requestId, tokens: own, finishReason: ended ? 'length' : '' }));
    }
  }
  for (const [call, value] of byCall) call.write({ body: { $case: 'step', value } });
  for (const { submit, call, sent } of requests) {
    if (sent < submit.maxTokens) continue;
    running.delete(submit.requestId);
    const value = executorV1.Terminal.fromPartial({ requestId: submit.requestId, reason: 'done', promptTokens: submit.prompt.length, generatedTokens: sent });
    call.write({ body: { $case: 'terminal', value } });
  }
}

function onSubmit(call: Call, submit: executorV1.Submit): void {
  const request = { submit, call, sent: 0 };
  running.set(submit.requestId, request);
  if (stepMs > 0) return;
  frame([request], [token(0)], 0);
  setTimeout(() => { if (running.has(submit.requestId)) frame([request], Array.from({ length: submit.maxTokens - 1 }, (_, i) => token(i + 1)), 1); }, REST_MS);
}

if (stepMs > 0) {
  let step = 0;
  setInterval(() => {
    sentAtMs[step] = performance.timeOrigin + performance.now();
    frame([...running.values()], [token(step)], step);
    step++;
  }, stepMs);
}
process.on('message', () => process.send!(sentAtMs));
process.on('disconnect', () => process.exit());

const server = new Server(LINK_OPTIONS);
server.addService(executorService, {
  describe: () => undefined,
  attach(call: Call) {
    call.on('error', () => undefined);
    call.on('end', () => call.end());
    call.write({ body: { $case: 'welcome', value: description } });
    call.write({ body: { $case: 'load', value: executorV1.Load.fromPartial({ pagesTotal: 1, pagesFree: 1 }) } });
    const beat = setInterval(() => call.write({ body: { $case: 'heartbeat', value: {} } }), HEARTBEAT_MS);
    call.on('close', () => clearInterval(beat));
    call.on('data', ({ body }: executorV1.Up) => {
      if (body?.$case === 'submit') onSubmit(call, body.value);
      else if (body?.$case === 'cancel') running.delete(body.value.requestId);
    });
  },
});
const port = await new Promise<number>((resolve, reject) => { server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound))); });

const metadata = new Metadata();
metadata.set(TOKEN_METADATA, `Bearer ${env['WEFT_LINK_TOKEN']!}`);
metadata.set(GATEWAY_METADATA, executorId);
const { path, requestSerialize, responseDeserialize } = executorsService.join;
const registry = new Client(env['WEFT_REGISTRY_ADDRESS']!, credentials.createInsecure(), LINK_OPTIONS);
const hello: registryV1.Hello = {
  executorId, address: `127.0.0.1:${port}`, device: 'simulated', build: '0', base: { digest: baseDigest, id: env['WEFT_MODEL_NAME']!, geometry, text: {} },
};
metadata.setOptions({ waitForReady: true });

function join(): void {
  const stream = registry.makeBidiStreamRequest<registryV1.JoinUp, registryV1.JoinDown>(path, requestSerialize, responseDeserialize, metadata, {});
  stream.write({ body: { $case: 'hello', value: hello } });
  const beat = setInterval(() => stream.write({ body: { $case: 'heartbeat', value: {} } }), HEARTBEAT_MS);
  stream.on('data', ({ body }: registryV1.JoinDown) => {
    if (body?.$case === 'prepare') stream.write({ body: { $case: 'result', value: { taskId: body.value.taskId, errors: [], warnings: [], effect: 1, transient: false } } });
  });
  stream.on('error', () => undefined);
  stream.on('status', () => { clearInterval(beat); setTimeout(join, HEARTBEAT_MS); });
}
join();
process.send!({ address: `127.0.0.1:${port}` });
