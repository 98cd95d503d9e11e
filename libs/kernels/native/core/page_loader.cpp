#include "page_loader.h"

#include <algorithm>
#include <cstring>

#include "crc32c.h"
#include "error.h"
#include "file.h"

namespace weft {
namespace {

[[noreturn]] void failCorrupt(const PageLoad& load, const std::string& what) {
  Error error("image_corrupt", load.path + ": " + what);
  error.file = load.path;
  throw error;
}

}  // namespace

void checkPageLoad(const PageLoad& load) {
  if (load.pageBytes == 0 || load.totalBytes == 0) throw Error("option_invalid", "loadPages: pageBytes and totalBytes are above 0.");
  const uint64_t spans = (load.totalBytes - 1) / load.pageBytes + 1;
  if (spans != load.pages.size() || spans != load.checksums.size()) {
    throw Error("option_invalid", format("loadPages: %llu spans need as many pages and checksums, not %zu and %zu.",
                                         (unsigned long long)spans, load.pages.size(), load.checksums.size()));
  }
  const uint64_t nPages = load.arena->bytes / load.pageBytes;
  for (size_t i = 0; i < load.pages.size(); i++) {
    if (load.pages[i] < 0 || uint64_t(load.pages[i]) >= nPages) {
      throw Error("option_invalid",
          format("loadPages: pages[%zu] = %d is not below the arena's %llu.", i, load.pages[i], (unsigned long long)nPages));
    }
  }
}

void loadPages(const PageLoad& load, const std::function<uint8_t*(uint64_t page)>& room, const std::function<void(uint64_t page)>& placed) {
  const File file(load.path);
  for (size_t i = 0; i < load.pages.size(); i++) {
    const uint64_t begin = uint64_t{i} * load.pageBytes, bytes = std::min<uint64_t>(load.pageBytes, load.totalBytes - begin);
    uint8_t* page = room(uint64_t(load.pages[i]));
    if (!file.read(page, bytes, load.fileOffset + begin)) {
      failCorrupt(load, format("the file ends inside span %zu of %zu.", i, load.pages.size()));
    }
    memset(page + bytes, 0, load.pageBytes - bytes);
    const uint32_t found = crc32c(page, bytes);
    if (found != load.checksums[i]) {
      failCorrupt(load, format("span %zu of %zu has the checksum %08x, the index says %08x.",
                               i, load.pages.size(), found, load.checksums[i]));
    }
    placed(uint64_t(load.pages[i]));
  }
}

}  // namespace weft
