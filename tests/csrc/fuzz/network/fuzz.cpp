// Fuzzes what loads a network: by its first byte, the rest is a whole file ('F'), or a plan in the JSON of
// csrc/network/plan.cpp beside the tensors of tensors.safetensors, its checksum put right (any other byte),
// so that mutations reach what stands behind the checksum. What loads is run. run.sh builds it.
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <random>

#include "network/crc32.h"
#include "network/network.h"

namespace {

using genfuse::Buffer;
using genfuse::Network;

constexpr int64_t kMostArena = 8 << 20;  // of plans that are run: others would only take long

std::string read_all(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// The header's entries of the seeds' tensors, and their bytes.
struct Tensors {
    Tensors() {
        const char* const folder = getenv("GENFUSE_FUZZ_CORPUS");
        const std::string file = read_all(std::string(folder ? folder : ".") + "/tensors.safetensors");
        uint64_t length = 0;
        if (file.size() < 8) _exit(3);
        for (size_t i = 8; i-- > 0;) length = length << 8 | static_cast<unsigned char>(file[i]);
        entries = file.substr(9, file.rfind('}', 8 + length - 1) - 9);
        data = file.substr(8 + length);
    }
    std::string entries, data;
};

std::string as_file(const std::string& plan) {
    static const Tensors tensors;
    std::string text;
    for (const char byte : plan) {
        if (byte == '"' || byte == '\\') text += '\\';
        if (static_cast<unsigned char>(byte) < 0x20) {
            text += ' ';
        } else {
            text += byte;
        }
    }
    std::string unescaped = plan;
    for (char& byte : unescaped) {
        if (static_cast<unsigned char>(byte) < 0x20) byte = ' ';
    }
    const std::string sum = std::to_string(genfuse::crc32(unescaped.data(), unescaped.size()));
    std::string header = "{" + tensors.entries +
                         ",\"__metadata__\":{\"format\":\"genfuse-network\",\"plan\":\"" + text +
                         "\",\"plan_crc32\":\"" + sum + "\"}}";
    header.resize((header.size() + 63) / 64 * 64 + 56, ' ');  // the data begin aligned
    std::string file(8, '\0');
    for (size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(header.size() >> 8 * i);
    return file + header + tensors.data;
}

void run(const Network& network, std::mt19937& random) {
    for (size_t number = 0; number < network.signatures().size(); ++number) {
        const genfuse::Signature& signature = network.signatures()[number];
        int64_t bytes = signature.arena_bytes;
        for (const auto* ports : {&signature.inputs, &signature.outputs}) {
            for (const genfuse::Port& port : *ports) bytes += port.bytes();
        }
        if (bytes > kMostArena) continue;
        std::vector<std::vector<char>> memory;
        const auto buffers = [&](const std::vector<genfuse::Port>& ports) {
            std::vector<Buffer> all;
            for (const genfuse::Port& port : ports) {
                memory.emplace_back(static_cast<size_t>(port.bytes()));
                const bool small = random() % 2;  // whole numbers that look-ups take
                for (size_t i = 0; i < memory.back().size(); ++i)
                    memory.back()[i] = static_cast<char>(small ? (i % 8 ? 0 : random() % 3) : random());
                all.push_back({memory.back().data(), memory.back().size()});
            }
            return all;
        };
        const auto inputs = buffers(signature.inputs), outputs = buffers(signature.outputs);
        try {
            network.run(number, inputs.data(), outputs.data(), 1 + static_cast<int32_t>(random() % 2));
        } catch (const genfuse::Refused&) {
        } catch (const std::bad_alloc&) {
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 1) return 0;
    const std::string rest(reinterpret_cast<const char*>(data) + 1, size - 1);
    std::string file = data[0] == 'F' ? rest : as_file(rest);
    std::vector<char> aligned(file.begin(), file.end());
    std::mt19937 random(static_cast<uint32_t>(size));
    try {
        run(Network(std::string_view(aligned.data(), aligned.size()), 1), random);
    } catch (const genfuse::Refused&) {
    } catch (const std::bad_alloc&) {
    }
    return 0;
}

namespace {

// One to three edits: of a plan mostly other numbers, which are what its reader has to bound.
std::string mutated(std::string input, std::mt19937_64& random) {
    static const char* const pieces[] = {
        "-1",         "0",          "1",     "2",       "9223372036854775807", "null", "[0,0]", "[1,4]",
        "4294967296", "1073741824", "65536", "\"inf\"", "\"0x1p+0\"",          "{}",   "[]"};
    const bool whole = input[0] == 'F';
    for (uint64_t edits = 1 + random() % 3; edits > 0 && input.size() > 2; --edits) {
        size_t at = 1 + random() % (input.size() - 1);
        const uint64_t kind = random() % 8;
        if (!whole && kind < 6) {
            at = input.find_first_of("0123456789", at);
            if (at == std::string::npos) continue;
            const size_t end = std::min(input.find_first_not_of("0123456789", at), input.size());
            const uint64_t value = std::stoull("0" + input.substr(at, std::min<size_t>(end - at, 18)));
            const std::string near[] = {std::to_string(value + 1), std::to_string(value * 2),
                                        std::to_string(value / 2), std::to_string(random() % 64)};
            input.replace(at, end - at, kind < 4 ? near[kind] : pieces[random() % std::size(pieces)]);
        } else if (kind == 6) {
            input[at] = static_cast<char>(random());
        } else {
            input.erase(at, 1 + random() % 16);
        }
    }
    return input;
}

}  // namespace

#ifndef GENFUSE_FUZZ_ALONE
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
    if (size < 2 || seed % 4 == 0) return LLVMFuzzerMutate(data, size, most);
    std::mt19937_64 random(seed);
    const std::string to = mutated({reinterpret_cast<char*>(data), size}, random);
    memcpy(data, to.data(), std::min(to.size(), most));
    return std::min(to.size(), most);
}
#else
#include <cstdio>

// Without libFuzzer: as many mutations of the given files as the first argument says, from a seed.
int main(int argc, char** argv) {
    if (argc < 4) return fprintf(stderr, "usage: network COUNT SEED FILE...\n"), 2;
    std::vector<std::string> seeds;
    for (int i = 3; i < argc; ++i) seeds.push_back(read_all(argv[i]));
    std::mt19937_64 random(std::stoull(argv[2]));
    const int64_t count = std::stoll(argv[1]);
    for (int64_t i = 0; i < count; ++i) {
        const std::string input = mutated(seeds[random() % seeds.size()], random);
        if (FILE* const last = fopen("last-input", "wb")) {  // what a crash leaves behind
            fwrite(input.data(), 1, input.size(), last);
            fclose(last);
        }
        LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
        if ((i + 1) % 10000 == 0) fprintf(stderr, "%lld inputs\n", static_cast<long long>(i + 1));
    }
    return 0;
}
#endif
