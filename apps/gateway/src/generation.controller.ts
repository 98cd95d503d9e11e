import { Body, Controller, HttpCode, Post, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { AdapterTexts } from './adapter-texts.js';
import { Caller, RequireScope } from './auth.guard.js';
import { parseChat } from './dto/chat.js';
import { parseCompletion } from './dto/completion.js';
import type { GenerationParams } from './dto/generation.js';
import type { Query } from './generation.js';
import type { Principal } from './keys.js';
import { ModelDirectory } from './model-directory.js';
import { PromptsService } from './prompts.service.js';
import { Responder } from './responder.js';

@Controller('v1')
@RequireScope('inference')
export class GenerationController {
  constructor(private readonly models: ModelDirectory, private readonly texts: AdapterTexts, private readonly prompts: PromptsService, private readonly responder: Responder) {}

  @Post('completions') @HttpCode(200)
  async completion(@Body() body: unknown, @Caller() caller: Principal, @Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const parsed = parseCompletion(body);
    const query = await this.#query('completions', parsed, caller, request);
    await this.responder.respond(query, reply, () => this.prompts.completion(parsed, query));
  }

  @Post('chat/completions') @HttpCode(200)
  async chat(@Body() body: unknown, @Caller() caller: Principal, @Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const parsed = parseChat(body);
    const query = await this.#query('chat', parsed, caller, request);
    await this.responder.respond(query, reply, () => this.prompts.chat(parsed, query));
  }

  async #query(route: Query['route'], { model, params }: { model: string; params: GenerationParams }, caller: Principal, { id }: FastifyRequest): Promise<Query> {
    const resolved = await this.models.resolve(caller.tenant, model);
    return { requestId: id, route, caller, modelName: model, model: resolved, tokenizer: await this.texts.of(resolved), stream: params.stream };
  }
}
