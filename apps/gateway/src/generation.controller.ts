import { Body, Controller, HttpCode, Post, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Caller, RequireScope } from './auth.guard.js';
import { parseChat } from './dto/chat.js';
import { parseCompletion } from './dto/completion.js';
import type { Principal } from './keys.js';
import { ModelDirectory, type ResolvedModel } from './model-directory.js';
import { PromptsService } from './prompts.service.js';
import { Responder, type Query } from './responder.js';

@Controller('v1')
@RequireScope('inference')
export class GenerationController {
  constructor(private readonly models: ModelDirectory, private readonly prompts: PromptsService, private readonly responder: Responder) {}

  @Post('completions') @HttpCode(200)
  async completion(@Body() body: unknown, @Caller() { tenant }: Principal, @Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const parsed = parseCompletion(body);
    const model = this.models.resolve(parsed.model);
    const query = queryOf('completions', parsed.model, tenant, parsed.params.stream, model);
    await this.responder.respond(query, request, reply, () => this.prompts.completion(parsed, { requestId: request.id, tenant, model }));
  }

  @Post('chat/completions') @HttpCode(200)
  async chat(@Body() body: unknown, @Caller() { tenant }: Principal, @Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const parsed = parseChat(body);
    const model = this.models.resolve(parsed.model);
    const query = queryOf('chat', parsed.model, tenant, parsed.params.stream, model);
    await this.responder.respond(query, request, reply, () => this.prompts.chat(parsed, { requestId: request.id, tenant, model }));
  }
}

function queryOf(route: Query['route'], model: string, tenant: string, stream: boolean, { adapter, baseDigest }: ResolvedModel): Query {
  return { route, model, tenant, stream, adapter: adapter === null ? null : `${adapter.name}@${adapter.version}`, digest: adapter?.digest ?? baseDigest };
}
