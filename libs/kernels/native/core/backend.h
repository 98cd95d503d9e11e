// What every kind of device does for the addon. One list, pack or load of a buffer at a time; page loads and spans beside them.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "pack.h"
#include "page_loader.h"
#include "program.h"
#include "run_result.h"
#include "span_file.h"

namespace weft {

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string isa() const = 0;                   // "avx2", "sm_90"
  virtual std::string describe() const = 0;              // for people: "NVIDIA H100 80GB HBM3"
  virtual uint32_t threads() const = 0;                  // of this processor, that pack and load
  virtual uint64_t freeBytes() const = 0;                // of the device's own memory; 0 where it is the host's

  // A zeroed buffer. Throws out_of_memory.
  virtual BufferRef allocate(uint32_t id, uint64_t bytes, const std::string& label, std::shared_ptr<std::atomic<uint64_t>> total) = 0;
  // The buffer's bytes for the host to read and write, the same at every call. A device with memory of its own takes and gives
  // a bound frame, masks, results and hidden rows with each list; for all else there are upload and download.
  virtual std::shared_ptr<uint8_t> view(const BufferRef& buffer) = 0;
  virtual void upload(const BufferRef& buffer, uint64_t offset, uint64_t bytes) = 0;
  virtual void download(const BufferRef& buffer, uint64_t offset, uint64_t bytes) = 0;

  virtual RunResult run(const LinkedProgram& linked, bool timed) = 0;
  virtual const RunCounters& counters() const = 0;

  // As pack.h, span_file.h and page_loader.h have them, into and out of the device's memory.
  virtual bool pack(const std::vector<TensorSource>& sources, uint32_t target, PackLayout layout, const BufferRef& out) = 0;
  virtual void loadBuffer(const BufferFile& file, const BufferRef& out) = 0;
  virtual uint32_t storeSpan(const std::string& path, uint64_t fileOffset, const BufferRef& from, uint64_t offset, uint64_t bytes) = 0;
  virtual void loadPages(const PageLoad& load) = 0;
};

}  // namespace weft
