// A stand-in for libcuda.so.1 without a GPU: answers as the environment says, and writes down what it is
// asked for.
//
// STANDIN_VERSION    what cuDriverGetVersion says, as 13000; STANDIN_DEVICES: a list of "name:major:minor;"
// STANDIN_INIT       the status of cuInit; STANDIN_SLEEP: seconds before it answers
// STANDIN_LOG        a file that gets a line a call; a launch's has its argument's first STANDIN_BYTES bytes
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int kInvalidValue = 1, kInvalidImage = 200, kInvalidContext = 201, kInvalidHandle = 400;
void* const kModule = reinterpret_cast<void*>(std::intptr_t{0x30D});
void* current = nullptr;

const char* given(const char* name, const char* otherwise) {
    const char* value = std::getenv(name);
    return value ? value : otherwise;
}

template <typename... Values>
void write_down(const char* format, Values... values) {
    std::FILE* log = std::fopen(given("STANDIN_LOG", "/dev/null"), "a");
    std::fprintf(log, format, values...);
    std::fclose(log);
}

const char* devices() {
    return given("STANDIN_DEVICES", "Stand-in:9:0;");
}

void told(int device, char* name, int* major, int* minor) {
    const char* at = devices();
    while (device--) at = std::strchr(at, ';') + 1;
    std::sscanf(at, "%[^:]:%d:%d", name, major, minor);
}

}  // namespace

extern "C" {

int cuDriverGetVersion(int* version) {
    *version = std::atoi(given("STANDIN_VERSION", "13000"));
    return 0;
}

int cuInit(unsigned flags) {
    sleep((unsigned)std::atoi(given("STANDIN_SLEEP", "0")));
    return flags ? kInvalidValue : std::atoi(given("STANDIN_INIT", "0"));
}

int cuDeviceGetCount(int* count) {
    *count = 0;
    for (const char* at = devices(); *at; ++at) *count += *at == ';';
    return 0;
}

int cuDeviceGet(int* device, int number) {
    *device = number;
    return 0;
}

int cuDeviceGetName(char* name, int length, int device) {
    char whole[256];
    int major, minor;
    told(device, whole, &major, &minor);
    std::snprintf(name, (size_t)length, "%s", whole);
    return 0;
}

int cuDeviceGetAttribute(int* value, int attribute, int device) {
    char name[256];
    int major, minor;
    told(device, name, &major, &minor);
    *value = attribute == 75 ? major : minor;
    return attribute == 75 || attribute == 76 ? 0 : kInvalidValue;
}

int cuGetErrorString(int status, const char** words) {
    *words = status == 803 ? "system has unsupported display driver / cuda driver combination"
                           : "stand-in's error";
    return 0;
}

int cuDevicePrimaryCtxRetain(void** context, int device) {
    *context = reinterpret_cast<void*>(std::intptr_t{0xC0} + device);
    write_down("retain %d\n", device);
    return 0;
}

int cuCtxPushCurrent_v2(void* context) {
    if (current) return kInvalidContext;
    current = context;
    return 0;
}

int cuCtxPopCurrent_v2(void** context) {
    *context = current;
    current = nullptr;
    return 0;
}

int cuModuleLoadData(void** module, const void* image) {
    const auto* bytes = static_cast<const unsigned char*>(image);
    if (!current) return kInvalidContext;
    const bool is_cubin = std::memcmp(bytes, "\x7f\x45LF", 4) == 0;
    if (!is_cubin && std::memcmp(bytes, "//", 2) != 0) return kInvalidImage;
    *module = kModule;
    write_down("load %s in %p\n", is_cubin ? "cubin" : "PTX", current);
    return 0;
}

int cuModuleGetFunction(void** function, void* module, const char* name) {
    if (module != kModule || !current) return kInvalidHandle;
    *function = strdup(name);
    return 0;
}

int cuFuncSetAttribute(void* function, int attribute, int value) {
    write_down("attribute %s %d %d\n", static_cast<char*>(function), attribute, value);
    return current ? 0 : kInvalidContext;
}

int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared, void* stream, void** parameters,
                   void** extra) {
    char bytes[8192] = "";
    const auto* argument = static_cast<const unsigned char*>(parameters[0]);
    if (!current || extra) return kInvalidValue;
    for (int i = 0; i < std::atoi(given("STANDIN_BYTES", "0")); ++i)
        std::sprintf(bytes + 2 * i, "%02x", argument[i]);
    write_down("launch %s %u,%u,%u %u,%u,%u %u %p %p %s\n", static_cast<char*>(function), grid_x, grid_y,
               grid_z, block_x, block_y, block_z, shared, stream, current, bytes);
    return 0;
}

}  // extern "C"
