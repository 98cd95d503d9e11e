import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { AdapterTexts } from './adapter-texts.js';
import { Caller, RequireScope } from './auth.guard.js';
import { parseDetokenize, parseTokenize } from './dto/tokenize.js';
import { Fleet } from './fleet.js';
import type { Principal } from './keys.js';
import { ModelDirectory } from './model-directory.js';
import { checkTokenIds } from './prompts.service.js';

/** As vLLM's routes of these names. Without a model the base is meant. */
@Controller()
@RequireScope('inference')
export class TokenizeController {
  constructor(private readonly texts: AdapterTexts, private readonly models: ModelDirectory, private readonly fleet: Fleet) {}

  @Post('tokenize') @HttpCode(200)
  async tokenize(@Body() body: unknown, @Caller() { tenant }: Principal): Promise<object> {
    const { model, input, addSpecialTokens, returnTokenStrs } = parseTokenize(body);
    const tokenizer = await this.texts.of(await this.models.resolve(tenant, model ?? this.models.base));
    const text = 'prompt' in input ? input.prompt : await tokenizer.renderChat(input.messages, input.render);
    const tokens = await tokenizer.encodeAsync(text, { addSpecialTokens });
    const strings = returnTokenStrs ? tokens.map(id => tokenizer.tokenOf(id) ?? '') : null;
    return { count: tokens.length, max_model_len: this.fleet.known.maxModelLen, tokens, token_strs: strings };
  }

  @Post('detokenize') @HttpCode(200)
  async detokenize(@Body() body: unknown, @Caller() { tenant }: Principal): Promise<object> {
    const { model, tokens } = parseDetokenize(body);
    const tokenizer = await this.texts.of(await this.models.resolve(tenant, model ?? this.models.base));
    checkTokenIds(tokens, Math.max(this.fleet.known.vocabSize, tokenizer.vocabSize), 'tokens');
    return { prompt: tokenizer.decode(tokens, { skipSpecialTokens: false }) };
  }
}
