#if defined(__linux__)
#include "system.h"

#include <sched.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <thread>

namespace weft {
namespace {

// CPUs worth of time per period, or 0 where there is no limit.
double quotaV2(const char* path) {
  FILE* file = fopen(path, "r");
  if (!file) return 0;
  double quota = 0, period = 0;
  const int fields = fscanf(file, "%lf %lf", &quota, &period);  // "max 100000": no number, no limit
  fclose(file);
  return fields == 2 && quota > 0 && period > 0 ? quota / period : 0;
}

double number(const char* path) {
  FILE* file = fopen(path, "r");
  if (!file) return 0;
  double value = 0;
  const int fields = fscanf(file, "%lf", &value);
  fclose(file);
  return fields == 1 ? value : 0;
}

// Our own cgroup and those above it: the tightest quota counts.
double cgroupQuota() {
  double tightest = 0;
  const auto consider = [&](double quota) {
    if (quota > 0 && (tightest == 0 || quota < tightest)) tightest = quota;
  };
  consider(quotaV2("/sys/fs/cgroup/cpu.max"));
  const double quota = number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), period = number("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (quota > 0 && period > 0) consider(quota / period);
  FILE* file = fopen("/proc/self/cgroup", "r");
  if (!file) return tightest;
  char line[1024];
  while (fgets(line, sizeof line, file)) {
    std::string path(line);
    if (path.rfind("0::/", 0) != 0) continue;
    path = path.substr(3, path.find_last_not_of('\n') - 2);
    for (; path.size() > 1; path = path.substr(0, path.rfind('/'))) {
      consider(quotaV2(("/sys/fs/cgroup" + path + "/cpu.max").c_str()));
      if (path.rfind('/') == std::string::npos) break;
    }
  }
  fclose(file);
  return tightest;
}

}  // namespace

uint32_t usableProcessors() {
  uint32_t processors = std::max(1u, std::thread::hardware_concurrency());
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) processors = std::max(1, CPU_COUNT(&set));
  const double quota = cgroupQuota();
  if (quota > 0) processors = std::min(processors, static_cast<uint32_t>(std::max(1.0, std::floor(quota + 0.5))));
  return processors;
}

ArmFeatures armFeatures() {
  ArmFeatures features;
#if defined(__aarch64__)
  features.dotProducts = getauxval(AT_HWCAP) >> 20 & 1;  // HWCAP_ASIMDDP, HWCAP2_BF16: older headers have no name for them
  features.bf16 = getauxval(AT_HWCAP2) >> 14 & 1;
#endif
  return features;
}

// Linux keeps 8 KiB more of a thread's state only for processes that ask; threads to come inherit the permission.
bool mayUseAmxTiles() {
#if defined(__x86_64__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

void adviseHugePages(void* place, uint64_t bytes) { madvise(place, bytes, MADV_HUGEPAGE); }

}  // namespace weft
#endif
