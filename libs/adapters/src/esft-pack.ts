/** Writes an ESFT adapter as pages: each expert, as W units, from the beginning of a page on. One page and one panel in memory. */
import { createHash } from 'node:crypto';
import { WeftError } from '@weft/contracts';
import { expertPages, expertUnits, W_DEPTH, W_UNIT_BYTES } from '@weft/kernels';
import { isBaseExpert } from './esft-base.js';
import { createImage, type ImageWriter } from './image.js';
import { LAYOUT_VERSION } from './layout.js';
import { AdapterRefused } from './refused.js';
import type { BaseGeometry, BaseTensors, EsftExpert, EsftManifest, ExpertGeometry, ImageExpert, ImageIndex, MoeBase, PageGeometry } from './types.js';
import { panelRooms, putUnit, storedPanels, type PanelRooms } from './w-units.js';
import { writeError } from './write-error.js';

/** Throws AdapterRefused `adapter_without_effect` if every expert is the base's own. */
export async function packEsft(manifest: EsftManifest, base: BaseGeometry, pages: PageGeometry, outFile: string, tensors?: BaseTensors): Promise<ImageIndex> {
  const moe = base as MoeBase;
  const { pageBytes, partition } = pages;
  if (partition.size !== 1) throw new WeftError('option_invalid', `adapters are packed for one device; a partition of ${partition.size} was asked for`, { field: 'partition' });
  if (pageBytes % W_UNIT_BYTES !== 0) throw new WeftError('option_invalid', `pages of ${pageBytes} bytes can't hold units of ${W_UNIT_BYTES}`, { field: 'pageBytes' });
  const { gateUp, down } = expertUnits(moe.experts), changed: EsftExpert[] = [];
  for (const expert of manifest.experts) if (!await isBaseExpert(expert, moe, tensors)) changed.push(expert);
  if (changed.length === 0) {
    throw new AdapterRefused([{ code: 'adapter_without_effect', message: `all ${manifest.experts.length} experts are the base's own: it would answer in the adapter's name. Were the weights saved before training?` }]);
  }
  const writer = await createImage(outFile, pageBytes);
  try {
    const experts: ImageExpert[] = [], rooms = panelRooms();
    for (const [i, expert] of changed.entries()) {
      if (i > 0) await writer.endPage();
      const { layer, expert: id, stored } = expert, page = writer.page;
      experts.push({ layer, expert: id, hash: await writeExpert(writer, expert, moe.experts, rooms), dtype: stored, page, pages: expertPages(moe.experts, pageBytes) });
    }
    return await writer.finish({
      layout: LAYOUT_VERSION, digest: manifest.digest, baseDigest: base.digest, kind: manifest.kind, pageBytes, partition,
      pages: writer.page + 1, maxRank: 0, scalesBase: false, replacesEnds: false, vocab: null, actsOnHead: false, runs: [], experts, payloadBytes: experts.length * (gateUp + down) * W_UNIT_BYTES,
    });
  } catch (cause) {
    await writer.abandon();
    throw cause instanceof WeftError ? cause : writeError(outFile, cause);
  }
}

/** Fills pages from the current one on; the last stays current. The expert's hash. */
async function writeExpert(writer: ImageWriter, { gate, up, down, stored }: EsftExpert, { hidden, inner }: ExpertGeometry, rooms: PanelRooms): Promise<string> {
  const hash = createHash('sha256').update(`${stored} [${2 * inner}, ${hidden}] [${hidden}, ${inner}]\n`);
  let filled = 0;
  for (const [matrices, k] of [[[gate, up], hidden], [[down], inner]] as const) {
    for await (const panel of storedPanels(matrices, stored, k, rooms)) {
      for (let block = 0; block * W_DEPTH < k; block++) {
        if (filled === writer.pageBytes) {
          hash.update(writer.bytes);
          await writer.endPage();
          filled = 0;
        }
        putUnit(writer.bytes.subarray(filled, filled += W_UNIT_BYTES), panel, block, stored);
      }
    }
  }
  return hash.update(writer.bytes.subarray(0, filled)).digest('hex');
}
