// Whole steps: decoding and prompts.
#include <algorithm>
#include <map>

#include "core/error.h"
#include "gpu/loaded_model.h"

namespace weft {
namespace gpu {
namespace {

template <typename T>
T largest(const std::vector<T>& values) { return *std::max_element(values.begin(), values.end()); }

Fields adaptersOf(const LoadedModel& model, uint32_t adapters) {
  return {{"adapters", std::to_string(adapters)}, {"ranks", model.ranksOf(adapters)}};
}

void requireFinite(const LoadedModel& model, Sink& sink) {
  if (!model.llama->finite()) sink.error("logits of this step are not finite: its times mean nothing");
}

}  // namespace

// Bound by memory: each step reads all weights, the keys and values of all sequences, and the adapters.
void benchDecode(const Bench& bench, Sink& sink) {
  const Sizes& sizes = bench.sizes;
  const uint32_t most = largest(sizes.batches);
  LoadedModel model(bench, sizes, uint64_t{most} * largest(sizes.contexts), most);
  const double weights = static_cast<double>(model.llama->weightBytes());
  sink.note(format("A frame of %.2f MB is sent with a step; results and hidden rows have room for %.2f MB.", model.llama->sentBytes() / 1e6,
                   model.llama->fetchedBytes() / 1e6));
  for (const uint32_t context : sizes.contexts) {
    for (const uint32_t size : sizes.batches) {
      double baseNs = 0;
      std::vector<uint32_t> counts{0, 1};
      if (size > 1) counts.push_back(size);
      for (const uint32_t adapters : counts) {
        if (!model.holds(size, context, adapters)) {
          sink.note(format("%u sequences of %u tokens don't fit into this GPU's memory.", size, context));
          continue;
        }
        model.llama->prepare(model.decoding(size, context, adapters));
        const Timing timing = measure([&] { return model.llama->run().elapsedNs; }, sizes.seconds);
        requireFinite(model, sink);
        if (adapters == 0) baseNs = timing.median;
        const double kv = static_cast<double>(model.llama->kvBytes(uint64_t{size} * context));
        const double lora = static_cast<double>(model.loraBytes(adapters)), bytes = weights + kv + lora, gbs = bytes / timing.median;
        sink.row(Fields{{"sequences", std::to_string(size)}, {"context", std::to_string(context)}} + adaptersOf(model, adapters) +
                 milliseconds(timing) +
                 Fields{{"tokens/s", number(size / timing.median * 1e9, 6)}, {"GB a step", number(bytes / 1e9)},
                        {"of it KV", number(kv / 1e9)}, {"LoRA", number(lora / 1e9)}, {"GB/s", number(gbs)},
                        {"% of copy", percent(gbs, bench.fact("copyGBs"))},
                        {"% of base", adapters ? percent(baseNs, timing.median) : ""},
                        {"at most", adapters ? percent(weights + kv, bytes) : ""}});
      }
    }
  }
}

// Bound by multiply-adds. TFLOP/s count those of the linear maps, not attention's; one row goes through the head.
void benchPrefill(const Bench& bench, Sink& sink) {
  Sizes sizes = bench.sizes;
  sizes.stepTokens = std::max(sizes.stepTokens, largest(sizes.chunks));
  LoadedModel model(bench, sizes, largest(sizes.prompts), 2);
  for (const uint32_t prompt : sizes.prompts) {
    for (const uint32_t chunk : sizes.chunks) {
      for (const uint32_t adapters : {0u, 1u}) {
        if (!model.holds(1, prompt, adapters)) continue;
        const int32_t adapter = adapters ? static_cast<int32_t>(model.adapterOf(0, 1)) : -1;
        const auto once = [&] {
          double ns = 0;
          for (uint32_t start = 0; start < prompt; start += chunk) {
            const uint32_t count = std::min(chunk, prompt - start);
            model.llama->prepare({{0, start, count, 0, 1, adapter, start + count == prompt}});
            ns += model.llama->run().elapsedNs;
          }
          return ns;
        };
        const Timing timing = measure(once, sizes.seconds, 10);
        requireFinite(model, sink);
        const double tflops = model.llama->flopsPerToken() * prompt / timing.median / 1e3;
        sink.row(Fields{{"tokens", std::to_string(prompt)}, {"chunk", std::to_string(chunk)}} + adaptersOf(model, adapters) +
                 milliseconds(timing) +
                 Fields{{"tokens/s", number(prompt / timing.median * 1e9, 6)}, {"TFLOP/s", number(tflops)},
                        {"% of linear", percent(tflops, bench.fact("gemmTflops"))}});
      }
    }
  }
}

}  // namespace gpu
}  // namespace weft
