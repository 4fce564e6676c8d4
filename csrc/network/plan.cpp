#include "network/plan.h"

#include <unistd.h>

#include "network/crc32.h"
#include "network/read_fields.h"

namespace genfuse {
namespace {

// A larger arena would be handed out, and the process ended when it is filled.
int64_t physical_memory() {
    const int64_t pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && bytes > 0 ? pages * bytes : kMostStride;
}

template <class Args>
auto set_threads(Args& args, int32_t threads) -> decltype(static_cast<void>(args.threads)) {
    args.threads = threads;
}
void set_threads(ConvCall& call, int32_t threads) {
    call.args.threads = threads;
}
void set_threads(genfuse_gather_args&, int32_t) {}
void set_threads(genfuse_timestep_embedding_args&, int32_t) {}
void set_threads(genfuse_widen_args&, int32_t) {}

// Of a convolution: which kernel does it, and later the weights as that one reads them.
void choose(ConvCall& call) {
    choose_kernel(call);
}
template <class Args>
void choose(Args&) {}

void pack_weight(ConvCall& call, PackedWeights& packed) {
    if (call.args.conv.algorithm != GENFUSE_CONV_NONE)
        call.args.packed = packed.of(call.args.conv, call.args.weight);
}
template <class Args>
void pack_weight(Args&, PackedWeights&) {}

template <class Args>
class StepOf : public Step {
  public:
    using Function = genfuse_status (*)(const Args*, genfuse_message*);

    StepOf(Function function, const Args& args, std::vector<Place> places)
        : function_(function), args_(args), places_(std::move(places)) {}

    void pack(PackedWeights& packed) override { pack_weight(args_, packed); }

    genfuse_status run(char* arena, int32_t threads, genfuse_message* message) const override {
        Args args = args_;
        for (const Place& place : places_) {
            void* const at = arena + place.at;
            memcpy(reinterpret_cast<char*>(&args) + place.field, &at, sizeof at);
        }
        set_threads(args, threads);
        return function_(&args, message);
    }

  private:
    const Function function_;
    Args args_;
    const std::vector<Place> places_;
};

template <class Args>
std::unique_ptr<Step> read_step(const Json& step, const PlanMemory& memory,
                                genfuse_status (*function)(const Args*, genfuse_message*)) {
    Args args{};
    ReadFields fields(step, memory, &args);
    describe(fields, args);
    fields.finish();
    choose(args);
    return std::make_unique<StepOf<Args>>(function, args, fields.places());
}

std::unique_ptr<Step> read_any_step(const Json& step, const PlanMemory& memory) {
    const std::string& op = member(step, "op", Json::Kind::text).text;
    const auto read = [&](auto function) { return read_step(step, memory, function); };
    if (op == "conv_norm_act") return read(run_conv);
    if (op == "attention") return read(genfuse_attention);
    if (op == "bias_act") return read(genfuse_bias_act);
    if (op == "copy") return read(genfuse_copy);
    if (op == "elementwise") return read(genfuse_elementwise);
    if (op == "gather") return read(genfuse_gather);
    if (op == "norm_stats") return read(genfuse_norm_stats);
    if (op == "timestep_embedding") return read(genfuse_timestep_embedding);
    if (op == "upfirdn2d") return read(genfuse_upfirdn2d);
    if (op == "widen") return read(genfuse_widen);
    if (op == "window") return read(genfuse_window);
    throw Refused("op '" + op.substr(0, 32) + "' is unknown to this version of genfuse");
}

int32_t dtype_of(const std::string& name) {
    static const char* const names[] = {"F32", "F64", "BF16", "F16", "I64"};
    for (int32_t i = 0; i < 5; ++i) {
        if (name == names[i]) return i;
    }
    throw Refused("dtype '" + name.substr(0, 32) + "' is unknown");
}

// {"name", "dtype", "shape", "strides" in elements, "at"}
Port read_port(const Json& given, int64_t arena_bytes, bool is_input) {
    Port port{member(given, "name", Json::Kind::text).text,
              dtype_of(member(given, "dtype", Json::Kind::text).text),
              {},
              {},
              0,
              1};
    const auto& shape = member(given, "shape", Json::Kind::list).list;
    const auto& strides = member(given, "strides", Json::Kind::list).list;
    if (given.object.size() != 5) throw Refused("has other fields than name, dtype, shape, strides and at");
    if (shape.size() != strides.size() || shape.empty() || shape.size() > GENFUSE_GLUE_AXES)
        throw Refused("has no shape and strides of 1 to 6 axes");
    port.copy.axes = static_cast<int32_t>(shape.size());
    port.copy.item = bytes_of(given.find("dtype")->text);
    genfuse_strided &inside = is_input ? port.copy.to : port.copy.source,
                    &outside = is_input ? port.copy.source : port.copy.to;
    Reach reach(port.copy.item);
    for (size_t axis = shape.size(); axis-- > 0;) {
        const int64_t size = shape[axis].integer, stride = strides[axis].integer;
        if (shape[axis].kind != Json::Kind::integer || strides[axis].kind != Json::Kind::integer ||
            size < 1 || size > kMostSize || stride < 0 || stride > kMostStride)
            throw Refused("has sizes or strides that no memory holds");
        outside.stride[axis] = port.elements * port.copy.item;
        inside.stride[axis] = stride * port.copy.item;
        port.copy.size[axis] = size;
        reach = reach.along(size, stride);
        if (__builtin_mul_overflow(port.elements, size, &port.elements) || port.elements > kMostStride)
            throw Refused("has more elements than any memory");
    }
    if (is_input && port.bytes() > reach.bytes()) throw Refused("has elements that lie on each other");
    for (const Json& size : shape) port.shape.push_back(size.integer);
    port.at = member(given, "at", Json::Kind::integer).integer;
    if (port.at < 0 || port.at > arena_bytes || reach.bytes() > arena_bytes - port.at)
        throw Refused("lies outside the arena");
    return port;
}

}  // namespace

const Json& member(const Json& object, const char* name, Json::Kind kind) {
    const Json* const found = object.find(name);
    if (!found || found->kind != kind) {
        static const char* const kinds[] = {"nothing", "true or false", "an integer",
                                            "a text",  "a list",        "an object"};
        throw Refused(std::string("'") + name + "' is " + (found ? "of another kind" : "missing") +
                      ", expected " + kinds[static_cast<int>(kind)]);
    }
    return *found;
}

std::vector<FileTensor> read_tensors(const Json& plan, const TensorFile& file) {
    std::vector<FileTensor> tensors;
    for (const Json& given : member(plan, "tensors", Json::Kind::list).list) {
        const std::string& name = member(given, "name", Json::Kind::text).text;
        const auto found = file.tensors.find(name);
        if (found == file.tensors.end()) throw Refused("tensor '" + name + "' is not in the file");
        const auto& shape = member(given, "shape", Json::Kind::list).list;
        bool same = member(given, "dtype", Json::Kind::text).text == found->second.dtype &&
                    shape.size() == found->second.shape.size();
        for (size_t axis = 0; same && axis < shape.size(); ++axis)
            same =
                shape[axis].kind == Json::Kind::integer && shape[axis].integer == found->second.shape[axis];
        if (!same) throw Refused("tensor '" + name + "' has another dtype or shape than the plan says");
        const std::string_view bytes = found->second.bytes;
        if (member(given, "crc32", Json::Kind::integer).integer != crc32(bytes.data(), bytes.size()))
            throw Refused("tensor '" + name + "' is damaged: its checksum is not the one in the plan");
        tensors.push_back(found->second);
    }
    if (tensors.size() != file.tensors.size())
        throw Refused("the file has other tensors than those of its plan");
    return tensors;
}

Signature read_signature(const Json& given, const std::vector<FileTensor>& tensors) {
    Signature signature{};
    signature.arena_bytes = member(given, "arena", Json::Kind::integer).integer;
    if (signature.arena_bytes < 0 || signature.arena_bytes > physical_memory()) {
        throw Refused("a run works in " + std::to_string(signature.arena_bytes) +
                      " bytes, this machine has " + std::to_string(physical_memory()));
    }
    const auto each = [&](const char* name, auto read) {
        int64_t number = 0;
        for (const Json& one : member(given, name, Json::Kind::list).list) {
            try {
                read(one);
            } catch (const Refused& why) {
                const Json* const op = one.find("op");
                throw Refused(
                    std::string(name) + "[" + std::to_string(number) + "]" +
                    (op && op->kind == Json::Kind::text ? " (" + op->text.substr(0, 32) + ")" : "") + ": " +
                    why.what());
            }
            ++number;
        }
    };
    each("inputs",
         [&](const Json& one) { signature.inputs.push_back(read_port(one, signature.arena_bytes, true)); });
    each("outputs",
         [&](const Json& one) { signature.outputs.push_back(read_port(one, signature.arena_bytes, false)); });
    const PlanMemory memory{signature.arena_bytes, tensors};
    each("steps", [&](const Json& one) { signature.steps.push_back(read_any_step(one, memory)); });
    if (given.object.size() != 4)
        throw Refused("a signature has other fields than arena, inputs, outputs and steps");
    return signature;
}

const float* PackedWeights::of(const genfuse_conv& conv, const genfuse_weight& weight) {
    std::string key(reinterpret_cast<const char*>(&conv), sizeof conv);
    key.append(reinterpret_cast<const char*>(&weight.data), sizeof weight.data);
    key.append(reinterpret_cast<const char*>(&weight.dtype), sizeof weight.dtype);
    Block& made = made_[key];
    if (!made) {
        genfuse_message message{};
        int64_t floats;
        genfuse_status status = genfuse_conv_packed_size(&conv, &floats, &message);
        if (status == GENFUSE_OK) {
            made = make_block(static_cast<size_t>(floats) * sizeof(float));
            status =
                genfuse_conv_pack(&conv, &weight, reinterpret_cast<float*>(made.get()), threads_, &message);
        }
        if (status == GENFUSE_OUT_OF_MEMORY) throw std::bad_alloc();
        if (status != GENFUSE_OK) throw Refused(message.text);
    }
    return reinterpret_cast<const float*>(made.get());
}

}  // namespace genfuse
