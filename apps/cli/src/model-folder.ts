/** What --model means: the bundled demo, a folder, or a model in the Hugging Face cache. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { WeftError } from '@weft/contracts';
import { DEMO, DEMO_BASE, DEMO_NAME } from './demo.js';
import { homeOf } from './options.js';

export interface ModelFolder { folder: string; name: string }

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
/** Names as the Hub allows them: an organisation and a repository. */
const HUB_NAME = /^[\w.-]{1,96}\/[\w.-]{1,96}$/;

/** Throws option_invalid and checkpoint_file_missing. */
export function findModel(model: string, env: NodeJS.ProcessEnv): ModelFolder {
  if (model === DEMO) return checked({ folder: DEMO_BASE, name: DEMO_NAME });
  const folder = resolve(env.INIT_CWD ?? '.', model);
  if (isFolder(folder)) return checked({ folder, name: hubName(folder) ?? basename(folder) });
  if (!HUB_NAME.test(model)) throw new WeftError('option_invalid', `${folder} is no folder, and ${JSON.stringify(model)} is neither an org/name nor «${DEMO}»`, { field: 'model' });
  const cache = env.HF_HUB_CACHE ?? join(env.HF_HOME ?? join(homeOf(env), '.cache', 'huggingface'), 'hub');
  const snapshot = cachedSnapshot(join(cache, `models--${model.replace('/', '--')}`));
  if (snapshot === undefined) {
    throw new WeftError('checkpoint_file_missing', `neither a folder ${folder} nor a model ${model} in ${cache} is there. Download it with «hf download ${model}», or give the folder of a checkpoint`, { field: 'model' });
  }
  return checked({ folder: snapshot, name: model });
}

function checked(model: ModelFolder): ModelFolder {
  const config = join(model.folder, 'config.json');
  if (!existsSync(config)) throw new WeftError('checkpoint_file_missing', `${model.folder} has no config.json: it is no Hugging Face checkpoint`, { field: 'model', file: config });
  return model;
}

/** The snapshot that the branch main points to. */
function cachedSnapshot(repository: string): string | undefined {
  const ref = join(repository, 'refs', 'main');
  if (!existsSync(ref)) return undefined;
  const snapshot = join(repository, 'snapshots', readFileSync(ref, 'utf8').trim());
  return isFolder(snapshot) ? snapshot : undefined;
}

/** …/models--org--name/snapshots/<commit> is org/name. */
function hubName(folder: string): string | undefined {
  return /models--([^/]+)--([^/]+)\/snapshots\/[^/]+$/.exec(folder)?.slice(1).join('/');
}
