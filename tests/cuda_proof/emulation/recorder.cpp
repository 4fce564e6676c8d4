// What ThreadSanitizer's instrumentation calls at each access, without ThreadSanitizer: linked to an emulated
// kernel that is compiled for it, this counts the bytes that its threads ask of given memory. Stacks and
// shared memory are not in that. `moved.py` calls it.
#include <stddef.h>
#include <stdint.h>

#include <algorithm>
#include <vector>

namespace {

constexpr uintptr_t kSector = 32;

struct Extent {
    uintptr_t start, end;
    std::vector<char> sectors[2];  // loaded, stored
};

std::vector<Extent> extents;  // by address, none over another
size_t latest = 0;
uint64_t requested = 0;

void touch(const void* pointer, size_t bytes, int stores) {
    const auto address = reinterpret_cast<uintptr_t>(pointer);
    if (extents.empty()) return;
    if (address < extents[latest].start || address >= extents[latest].end) {
        const auto after =
            std::upper_bound(extents.begin(), extents.end(), address,
                             [](uintptr_t value, const Extent& extent) { return value < extent.start; });
        if (after == extents.begin() || address >= (after - 1)->end) return;
        latest = static_cast<size_t>(after - 1 - extents.begin());
    }
    Extent& extent = extents[latest];
    requested += bytes;
    const uintptr_t first = extent.start / kSector;
    for (uintptr_t sector = address / kSector; sector <= (address + bytes - 1) / kSector; ++sector)
        extent.sectors[stores][sector - first] = 1;
}

}  // namespace

extern "C" {

// Sorted by `starts`; forgets what was counted before.
void record_extents(const uint64_t* starts, const uint64_t* ends, size_t count) {
    extents.clear();
    latest = 0;
    requested = 0;
    for (size_t i = 0; i < count; ++i) {
        const size_t sectors = (ends[i] - 1) / kSector - starts[i] / kSector + 1;
        extents.push_back({starts[i], ends[i], {std::vector<char>(sectors), std::vector<char>(sectors)}});
    }
}

uint64_t recorded_bytes() {
    return requested;
}

// Of one extent, loaded or stored.
uint64_t recorded_sectors(size_t extent, int stores) {
    const std::vector<char>& sectors = extents[extent].sectors[stores];
    return static_cast<uint64_t>(std::count(sectors.begin(), sectors.end(), 1));
}

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

#define GENFUSE_ACCESSES(bytes)                         \
    void __tsan_read##bytes(void* address) {            \
        touch(address, bytes, 0);                       \
    }                                                   \
    void __tsan_write##bytes(void* address) {           \
        touch(address, bytes, 1);                       \
    }                                                   \
    void __tsan_unaligned_read##bytes(void* address) {  \
        touch(address, bytes, 0);                       \
    }                                                   \
    void __tsan_unaligned_write##bytes(void* address) { \
        touch(address, bytes, 1);                       \
    }
GENFUSE_ACCESSES(1)
GENFUSE_ACCESSES(2)
GENFUSE_ACCESSES(4)
GENFUSE_ACCESSES(8)
GENFUSE_ACCESSES(16)
#undef GENFUSE_ACCESSES

void __tsan_read_range(void* address, size_t bytes) {
    touch(address, bytes, 0);
}
void __tsan_write_range(void* address, size_t bytes) {
    touch(address, bytes, 1);
}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

// Of integers, in shared memory.
int __tsan_atomic32_fetch_add(volatile int* address, int value, int) {
    return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
long __tsan_atomic64_fetch_add(volatile long* address, long value, int) {
    return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}

}  // extern "C"
