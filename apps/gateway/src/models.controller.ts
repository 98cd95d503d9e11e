import { Controller, Get, Param, Query, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { Caller, RequireScope } from './auth.guard.js';
import { MODEL_CHARS_MAX } from './dto/caps.js';
import { parse } from './dto/parse.js';
import type { Principal } from './keys.js';
import { ModelDirectory, type ModelCard } from './model-directory.js';

const LIMIT_MAX = 10_000;
export const modelPage = z.object({ limit: z.coerce.number().int().min(1).max(LIMIT_MAX).default(LIMIT_MAX), after: z.string().max(MODEL_CHARS_MAX).optional() });

@Controller('v1/models')
@RequireScope('inference')
export class ModelsController {
  constructor(private readonly models: ModelDirectory) {}

  @Get()
  async list(@Query() query: unknown, @Caller() { tenant }: Principal, @Res() reply: FastifyReply): Promise<void> {
    const { limit, after } = parse(modelPage, query);
    await reply.type('application/json; charset=utf-8').send(await this.models.list(tenant, limit, after));
  }

  /** Ids may hold slashes. */
  @Get('*')
  retrieve(@Param('*') id: string, @Caller() { tenant }: Principal): Promise<ModelCard> { return this.models.card(tenant, id); }
}
