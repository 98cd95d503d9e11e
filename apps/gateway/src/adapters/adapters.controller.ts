import { Body, Controller, Delete, Get, HttpCode, Param, Post, Put, Query, Req, Res, StreamableFile } from '@nestjs/common';
import { RouteConfig } from '@nestjs/platform-fastify';
import { WeftError } from '@weft/contracts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { auditCard, type auditSchema } from '../admin/cards.js';
import { Tenancy } from '../admin/tenancy.js';
import { actorOf, Caller, RequireScope } from '../auth.guard.js';
import { list, type List } from '../dto/list.js';
import { parse } from '../dto/parse.js';
import type { Principal } from '../keys.js';
import { RegistryClient } from '../registry-client.js';
import { adapterCard, aliasCard, fileCard, filesCard, versionCard, type AdapterCard, type aliasSchema, type FileCard, type filesSchema, type VersionCard } from './cards.js';
import { adapterPage, adapterPath, aliasBody, aliasPath, filePath, forceQuery, historyPage, sharePath, versionPath } from './dto.js';
import { FilesService } from './files.service.js';
import { FORM } from './forms.js';
import { UploadService } from './upload.service.js';

/** Reading takes any key of the tenant, changing the scope adapters:write. */
@Controller('v1/adapters')
export class AdaptersController {
  constructor(
    private readonly registry: RegistryClient, private readonly uploads: UploadService, private readonly files: FilesService, private readonly tenancy: Tenancy,
  ) {}

  /** 202 for a new version, 200 for the one that these bytes are already. */
  @Post() @RequireScope('adapters:write') @RouteConfig(FORM)
  async upload(@Caller() caller: Principal, @Req() request: FastifyRequest, @Res({ passthrough: true }) reply: FastifyReply): Promise<VersionCard> {
    const { name, version, created } = await this.uploads.take(request, reply, caller);
    const card = versionCard(name, version!);
    reply.status(created ? 202 : 200).header('location', `/v1/adapters/${name}/versions/${card.version}`);
    return card;
  }

  @Get()
  async list(@Query() query: unknown, @Caller() caller: Principal): Promise<List<AdapterCard>> {
    const { limit, after = '', tenant } = parse(adapterPage, query);
    return list(await this.registry.call('listAdapters', { tenantId: await this.tenancy.idOf(tenant, caller), limit, after }), adapterCard);
  }

  @Get(':name')
  async retrieve(@Param() path: unknown, @Caller() { tenant }: Principal): Promise<AdapterCard> {
    return adapterCard(await this.registry.call('getAdapter', { tenantId: tenant, ...parse(adapterPath, path) }));
  }

  @Get(':name/versions/:version')
  async version(@Param() path: unknown, @Caller() { tenant }: Principal): Promise<VersionCard> {
    const { name, version } = parse(versionPath, path);
    const adapter = await this.registry.call('getAdapter', { tenantId: tenant, name });
    const found = adapter.versions.find(one => one.version === version);
    if (found === undefined) throw new WeftError('not_found', `${adapter.name} has no version ${version}.`, { param: 'version' });
    return versionCard(adapter.name, found);
  }

  @Get(':name/versions/:version/files')
  async listFiles(@Param() path: unknown, @Caller() { tenant }: Principal): Promise<List<FileCard>> {
    const { name, version } = parse(versionPath, path);
    return list({ data: await this.files.list(tenant, name, version), hasMore: false }, fileCard);
  }

  /** The weights themselves: not for every key that may ask them something. */
  @Get(':name/versions/:version/files/:file') @RequireScope('adapters:write')
  async file(@Param() path: unknown, @Caller() { tenant }: Principal, @Res({ passthrough: true }) reply: FastifyReply): Promise<StreamableFile> {
    const { name, version, file: fileName } = parse(filePath, path);
    const { file: { size, sha256 }, bytes } = await this.files.open(tenant, name, version, fileName);
    reply.header('etag', `"${sha256}"`);
    return new StreamableFile(bytes, { type: 'application/octet-stream', length: Number(size) });
  }

  /** Its files, and the config among them. */
  @Get(':name/versions/:version/config')
  async config(@Param() path: unknown, @Caller() { tenant }: Principal): Promise<z.output<typeof filesSchema>> {
    return filesCard(await this.registry.call('getVersionFiles', { tenantId: tenant, ...parse(versionPath, path) }));
  }

  /** What was done to it, its versions and aliases. */
  @Get(':name/history')
  async history(@Param() path: unknown, @Query() query: unknown, @Caller() { tenant }: Principal): Promise<List<z.output<typeof auditSchema>>> {
    const { limit, after = '' } = parse(historyPage, query);
    return list(await this.registry.call('listAdapterHistory', { tenantId: tenant, ...parse(adapterPath, path), limit, after }), auditCard);
  }

  @Delete(':name') @RequireScope('adapters:write') @HttpCode(204)
  async remove(@Param() path: unknown, @Query() query: unknown, @Caller() caller: Principal, @Req() request: FastifyRequest): Promise<void> {
    await this.registry.call('deleteAdapter', { ...scoped(caller, request), ...parse(adapterPath, path), ...parse(forceQuery, query) });
  }

  @Delete(':name/versions/:version') @RequireScope('adapters:write') @HttpCode(204)
  async removeVersion(@Param() path: unknown, @Query() query: unknown, @Caller() caller: Principal, @Req() request: FastifyRequest): Promise<void> {
    await this.registry.call('deleteVersion', { ...scoped(caller, request), ...parse(versionPath, path), ...parse(forceQuery, query) });
  }

  @Put(':name/aliases/:alias') @RequireScope('adapters:write')
  async putAlias(@Param() path: unknown, @Body() body: unknown, @Caller() caller: Principal, @Req() request: FastifyRequest): Promise<z.output<typeof aliasSchema>> {
    return aliasCard(await this.registry.call('putAlias', { ...scoped(caller, request), ...parse(aliasPath, path), ...parse(aliasBody, body) }));
  }

  @Delete(':name/aliases/:alias') @RequireScope('adapters:write') @HttpCode(204)
  async removeAlias(@Param() path: unknown, @Caller() caller: Principal, @Req() request: FastifyRequest): Promise<void> {
    await this.registry.call('deleteAlias', { ...scoped(caller, request), ...parse(aliasPath, path) });
  }

  /** Another tenant may use it, as `<tenant>/<adapter>`. */
  @Put(':name/shares/:tenant') @RequireScope('adapters:write') @HttpCode(204)
  async share(@Param() path: unknown, @Caller() caller: Principal, @Req() request: FastifyRequest): Promise<void> {
    const { name, tenant } = parse(sharePath, path);
    await this.registry.call('putShare', { ...scoped(caller, request), name, withTenantName: tenant });
  }

  @Delete(':name/shares/:tenant') @RequireScope('adapters:write') @HttpCode(204)
  async unshare(@Param() path: unknown, @Caller() caller: Principal, @Req() request: FastifyRequest): Promise<void> {
    const { name, tenant } = parse(sharePath, path);
    await this.registry.call('deleteShare', { ...scoped(caller, request), name, withTenantName: tenant });
  }
}

/** Whose it is, and who does it. */
const scoped = (caller: Principal, request: FastifyRequest) => ({ actor: actorOf(caller, request), tenantId: caller.tenant });
