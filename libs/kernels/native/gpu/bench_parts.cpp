// What goes on around steps: pages that arrive, and what a launch costs.
#include <algorithm>
#include <atomic>
#include <thread>

#include "gpu/loaded_model.h"

namespace weft {
namespace gpu {
namespace {

constexpr uint32_t kSmallDim = 32;

std::vector<uint32_t> smallOps(const Rows& from, const Rows& to, uint32_t count) {
  ListBuilder builder;
  for (uint32_t i = 0; i < count; i++) {
    builder.add(kOpCopyRows, {{"from", from.ref}, {"to", to.ref}},
                {{"count", kHeaderNone}, {"countFrom", 0u}, {"rows", 1u}, {"dim", kSmallDim}, {"ldFrom", from.ld}, {"ldTo", to.ld},
                 {"toType", kDTypeF32}});
  }
  return builder.words();
}

}  // namespace

// Pages come out of memory that is not pinned, as they do from files: through staging memory, on a stream of their own.
void benchCopies(const Bench& bench, Sink& sink) {
  const Sizes& sizes = bench.sizes;
  const uint32_t most = *std::max_element(sizes.copiedPages.begin(), sizes.copiedPages.end());
  LoadedModel model(bench, sizes, uint64_t{sizes.breakdownBatch} * sizes.breakdownContext, 1);
  const uint64_t pageBytes = model.llama->kv.pageBytes;
  const Ref to = model.machine.allocate(most * pageBytes, "pages");
  const std::vector<uint8_t> pages(most * pageBytes, 1);
  const auto copy = [&](uint32_t count) { model.machine.device.write(model.machine.buffer(to), 0, pages.data(), count * pageBytes); };
  for (const uint32_t count : sizes.copiedPages) {
    const Timing timing = measure([&] { return clocked([&] { copy(count); }); }, sizes.seconds);
    sink.row(Fields{{"pages", std::to_string(count)}, {"MB", number(count * pageBytes / 1e6)}} + milliseconds(timing) +
             Fields{{"GB/s", number(count * pageBytes / timing.median)}});
  }
  model.llama->prepare(model.decoding(sizes.breakdownBatch, sizes.breakdownContext, 0));
  const auto step = [&] { return model.llama->run().elapsedNs; };
  const Timing alone = measure(step, sizes.seconds);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> copied{0};
  std::string failed;
  std::thread other([&] {
    try {
      while (!stop) copy(most), copied += most * pageBytes;
    } catch (const std::exception& error) {
      failed = error.what();
    }
  });
  Timing beside;
  double ns = 0;
  try {
    ns = clocked([&] { beside = measure(step, sizes.seconds); });
  } catch (...) {
    stop = true;
    other.join();
    throw;
  }
  const double gbs = copied / ns;
  stop = true;
  other.join();
  if (!failed.empty()) sink.error(failed);
  const auto row = [&](const char* what, const Timing& timing, double rate) {
    sink.row(Fields{{"a step", what}} + milliseconds(timing) + Fields{{"copied GB/s", number(rate)}});
  };
  row("alone", alone, 0);
  row("beside copies", beside, gbs);
}

// One op after another on one stream: a graph, and launches that are timed one by one.
void benchLaunches(const Bench& bench, Sink& sink) {
  Machine machine(bench.device);
  const Rows from = allocateRows(machine, 1, kSmallDim, "from"), to = allocateRows(machine, 1, kSmallDim, "to");
  for (const uint32_t count : {1u, bench.sizes.smallOps}) {
    const List list = machine.list(smallOps(from, to, count));
    const double first = clocked([&] { machine.device.run(*list, false); });
    const Timing graph = measure([&] { return machine.device.run(*list, false).elapsedNs; }, bench.sizes.seconds, 100);
    const Timing timed = measure([&] { return machine.device.run(*list, true).elapsedNs; }, bench.sizes.seconds, 100);
    const auto us = [](double ns) { return number(ns / 1e3); };
    sink.row({{"ops", std::to_string(count)}, {"graph µs", us(graph.median)}, {"fastest", us(graph.min)}, {"slowest", us(graph.max)},
              {"µs an op", us(graph.median / count)}, {"op by op µs", us(timed.median)}, {"µs each", us(timed.median / count)},
              {"first run µs", us(first)}, {"making the graph µs", us(first - graph.median)}});
  }
}

}  // namespace gpu
}  // namespace weft
