// Fuzzes what loads a network. By its first byte an input is a whole file ('F'), a plan in the JSON of
// csrc/network/plan.cpp ('P'), or that plan's signatures alone (any other byte); plan and signatures come
// beside the tensors of `tensors`, with their checksum put right, so that mutations reach what stands behind
// it. What loads is run, on one thread. ../run.sh builds it; -DREPLAY makes a program without a fuzzer:
//
//     network COUNT FILES    each file, and COUNT changes of it
#include <array>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <random>

#include "network/crc32.h"
#include "network/network.h"

namespace {

using genfuse::Buffer;
using genfuse::Network;
using genfuse::Port;

constexpr int64_t kMostBytes = 1 << 16;  // of plans that are run: others would only take long

std::string read_all(std::istream& file) {
    return {std::istreambuf_iterator<char>(file), {}};
}

// What make_corpus.py left: the header's entries, the plan's list, the bytes.
struct Tensors {
    Tensors() {
        const char* const path = getenv("GENFUSE_FUZZ_TENSORS");
        std::ifstream file(path ? path : "tensors", std::ios::binary);
        std::getline(file, entries);
        std::getline(file, listed);
        data = read_all(file);
        if (data.empty()) {
            fprintf(stderr, "GENFUSE_FUZZ_TENSORS names no file such as tests/csrc/fuzz/network/tensors\n");
            _Exit(3);
        }
    }
    std::string entries, listed, data;
};

const Tensors& tensors() {
    static const Tensors all;
    return all;
}

std::string plan_of(const std::string& signatures) {
    return "{\"version\":1,\"producer\":\"fuzz\",\"tensors\":" + tensors().listed +
           ",\"signatures\":" + signatures + "}";
}

std::string file_of(std::string plan) {
    std::string text;
    for (char& byte : plan) {
        if (static_cast<unsigned char>(byte) < 0x20) byte = ' ';  // which no text has unescaped
        if (byte == '"' || byte == '\\') text += '\\';
        text += byte;
    }
    std::string header =
        "{" + tensors().entries + ",\"__metadata__\":{\"format\":\"genfuse-network\",\"plan\":\"" + text +
        "\",\"plan_crc32\":\"" + std::to_string(genfuse::crc32(plan.data(), plan.size())) + "\"}}";
    header.resize((header.size() + 63) / 64 * 64 + 56, ' ');  // the data begin aligned
    std::string file(8, '\0');
    for (size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(header.size() >> 8 * i);
    return file + header + tensors().data;
}

// Any bits, or, for look-ups that take few numbers, 0 to 2.
std::vector<uint64_t> filled(int64_t bytes, std::minstd_rand& random) {
    std::vector<uint64_t> memory(static_cast<size_t>(bytes + 7) / 8);
    const bool small = random() % 2;
    for (uint64_t& word : memory) word = small ? random() % 3 : uint64_t{random()} << 32 | random() << 1;
    return memory;
}

void run(const Network& network) {
    std::minstd_rand random(1);
    for (size_t number = 0; number < network.signatures().size(); ++number) {
        const genfuse::Signature& signature = network.signatures()[number];
        int64_t bytes = signature.arena_bytes;
        for (const auto* ports : {&signature.inputs, &signature.outputs}) {
            for (const Port& port : *ports) bytes += port.bytes();
        }
        if (bytes > kMostBytes) continue;
        std::vector<std::vector<uint64_t>> memory;
        std::vector<Buffer> inputs, outputs;
        for (const auto* ports : {&signature.inputs, &signature.outputs}) {
            for (const Port& port : *ports) {
                memory.push_back(filled(port.bytes(), random));
                (ports == &signature.inputs ? inputs : outputs)
                    .push_back({memory.back().data(), static_cast<size_t>(port.bytes())});
            }
        }
        try {
            network.run(number, inputs.data(), outputs.data(), 1);
        } catch (const genfuse::Refused&) {
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 1) return 0;
    const std::string rest(reinterpret_cast<const char*>(data) + 1, size - 1);
    const std::string file = data[0] == 'F' ? rest : file_of(data[0] == 'P' ? rest : plan_of(rest));
    const std::vector<char> exact(file.begin(), file.end());  // one byte beyond is AddressSanitizer's
    try {
        run(Network(std::string_view(exact.data(), exact.size()), 1));
    } catch (const genfuse::Refused&) {
    } catch (const std::bad_alloc&) {
    }
    return 0;
}

#if defined(REPLAY) || defined(LIBFUZZER)
namespace {

// One to three edits: of a plan mostly other numbers, which are what its reader has to bound.
std::string mutated(std::string input, std::mt19937_64& random) {
    static const std::array<const char*, 15> pieces = {
        "-1",         "0",          "1",     "2",       "9223372036854775807", "null", "[0,0]", "[1,4]",
        "4294967296", "1073741824", "65536", "\"inf\"", "\"0x1p+0\"",          "{}",   "[]"};
    const bool whole = input[0] == 'F';
    for (uint64_t edits = 1 + random() % 3; edits > 0 && input.size() > 2; --edits) {
        const size_t at = 1 + random() % (input.size() - 1);
        const uint64_t kind = random() % 8;
        if (!whole && kind < 6) {
            const size_t begin = input.find_first_of("0123456789", at);
            if (begin == std::string::npos) continue;
            const size_t end = std::min(input.find_first_not_of("0123456789", begin), input.size());
            const uint64_t value = std::stoull(input.substr(begin, std::min<size_t>(end - begin, 18)));
            const std::string near[] = {std::to_string(value + 1), std::to_string(value * 2),
                                        std::to_string(value / 2), std::to_string(random() % 64)};
            input.replace(begin, end - begin, kind < 4 ? near[kind] : pieces[random() % pieces.size()]);
        } else if (kind == 6) {
            input[at] = static_cast<char>(random());
        } else {
            input.erase(at, 1 + random() % 16);
        }
    }
    return input;
}

}  // namespace
#endif

#ifdef LIBFUZZER
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
    if (size < 2 || seed % 4 == 0) return LLVMFuzzerMutate(data, size, most);
    std::mt19937_64 random(seed);
    const std::string to = mutated({reinterpret_cast<char*>(data), size}, random);
    memcpy(data, to.data(), std::min(to.size(), most));
    return std::min(to.size(), most);
}
#endif

#ifdef REPLAY
int main(int argc, char** argv) {
    if (argc < 3) return fprintf(stderr, "usage: network COUNT FILE...\n"), 2;
    const auto one = [](const std::string& input) {
        LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
    };
    std::mt19937_64 random(1);
    for (int i = 2; i < argc; ++i) {
        std::ifstream file(argv[i], std::ios::binary);
        const std::string input = read_all(file);
        if (!file) return fprintf(stderr, "%s cannot be read\n", argv[i]), 1;
        one(input);
        for (int64_t count = std::stoll(argv[1]); count > 0 && input.size() > 2; --count)
            one(mutated(input, random));
    }
    printf("%d files\n", argc - 2);
    return 0;
}
#endif
