import { Controller, Get, Param, Query } from '@nestjs/common';
import { WeftError } from '@weft/contracts';
import { z } from 'zod';
import { RequireScope } from './auth.guard.js';
import { MODEL_CHARS_MAX } from './dto/caps.js';
import { parse } from './dto/parse.js';
import { ModelDirectory, type ModelCard } from './model-directory.js';

const LIMIT_MAX = 10_000;
const page = z.object({ limit: z.coerce.number().int().min(1).max(LIMIT_MAX).default(LIMIT_MAX), after: z.string().max(MODEL_CHARS_MAX).optional() });

@Controller('v1/models')
@RequireScope('inference')
export class ModelsController {
  constructor(private readonly models: ModelDirectory) {}

  @Get()
  list(@Query() query: unknown): { object: 'list'; data: ModelCard[]; has_more: boolean } {
    const { limit, after } = parse(page, query);
    const cards = this.models.list();
    const start = after === undefined ? 0 : cards.findIndex(({ id }) => id === after) + 1;
    if (after !== undefined && start === 0) throw new WeftError('invalid_value', `No model '${after}' to continue after.`, { param: 'after' });
    return { object: 'list', data: cards.slice(start, start + limit), has_more: start + limit < cards.length };
  }

  /** Ids may hold slashes. */
  @Get('*')
  retrieve(@Param('*') id: string): ModelCard { return this.models.card(id); }
}
