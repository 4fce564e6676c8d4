// The functions of genfuse.h that are about exported networks.
#include "network/network.h"

#include "common/scratch.h"
#include "embed/guarded.h"
#include "embed/sampler.h"
#include "include/genfuse.h"

using genfuse::Port;
using genfuse::refuse;

struct genfuse_network {
    genfuse_network(const char* path, int32_t threads) : network(path, threads) {
        for (const genfuse::Signature& plan : network.signatures())
            ports.push_back({all(plan.inputs), all(plan.outputs)});
    }

    static std::vector<genfuse_port> all(const std::vector<Port>& given) {
        std::vector<genfuse_port> made;
        for (const Port& port : given) {
            genfuse_port one{
                port.name.c_str(), {port.dtype, port.copy.axes, {}}, static_cast<size_t>(port.bytes())};
            std::copy(port.shape.begin(), port.shape.end(), one.shape.size);
            made.push_back(one);
        }
        return made;
    }

    bool has(int64_t plan) const { return plan >= 0 && static_cast<size_t>(plan) < ports.size(); }

    struct Ports {
        std::vector<genfuse_port> inputs, outputs;
    };
    const genfuse::Network network;
    std::vector<Ports> ports;
};

namespace {

const genfuse_port* listed(const std::vector<genfuse_port>* ports, int64_t* count) {
    if (count) *count = ports ? static_cast<int64_t>(ports->size()) : 0;
    return ports ? ports->data() : nullptr;
}

std::vector<genfuse::Buffer> buffers(const char* name, const std::vector<genfuse_port>& ports,
                                     void* const* given) {
    if (!given) refuse("%s is NULL", name);
    std::vector<genfuse::Buffer> all;
    for (size_t i = 0; i < ports.size(); ++i) {
        if (!given[i]) refuse("%s[%zu], '%s', is NULL", name, i, ports[i].name);
        all.push_back({given[i], ports[i].bytes});
    }
    return all;
}

// guarded, for work that may refuse a network too.
template <class Work>
genfuse_status guarded(Work work) noexcept {
    return genfuse::guarded([&] {
        try {
            work();
        } catch (const genfuse::Refused& why) {
            genfuse::fail(why.status, "%s", why.what());
        }
    });
}

}  // namespace

genfuse_status genfuse_network_load(genfuse_network** network, const char* path, int32_t threads) {
    if (network) *network = nullptr;
    return guarded([&] {
        if (!network) refuse("network is NULL%s", "");
        if (!path) refuse("path is NULL%s", "");
        *network = new genfuse_network(path, genfuse::threads_of(threads));
    });
}

void genfuse_network_free(genfuse_network* network) {
    delete network;
}

int64_t genfuse_network_plans(const genfuse_network* network) {
    return network ? static_cast<int64_t>(network->ports.size()) : 0;
}

int64_t genfuse_network_plan_for(const genfuse_network* network, int64_t batch) {
    for (int64_t plan = 0; plan < genfuse_network_plans(network); ++plan) {
        const auto& inputs = network->ports[static_cast<size_t>(plan)].inputs;
        if (!inputs.empty() && inputs[0].shape.size[0] == batch) return plan;
    }
    return -1;
}

const genfuse_port* genfuse_network_inputs(const genfuse_network* network, int64_t plan, int64_t* count) {
    const bool known = network && network->has(plan);
    return listed(known ? &network->ports[static_cast<size_t>(plan)].inputs : nullptr, count);
}

const genfuse_port* genfuse_network_outputs(const genfuse_network* network, int64_t plan, int64_t* count) {
    const bool known = network && network->has(plan);
    return listed(known ? &network->ports[static_cast<size_t>(plan)].outputs : nullptr, count);
}

int64_t genfuse_network_memory(const genfuse_network* network, int64_t plan) {
    const bool known = network && network->has(plan);
    return known ? network->network.signatures()[static_cast<size_t>(plan)].arena_bytes : -1;
}

genfuse_status genfuse_network_run(const genfuse_network* network, int64_t plan, const void* const inputs[],
                                   void* const outputs[], int32_t threads) {
    return guarded([&] {
        if (!network) refuse("network is NULL%s", "");
        if (!network->has(plan)) {
            refuse("plan is %lld, expected 0 to %lld: genfuse_network_plan_for finds one",
                   static_cast<long long>(plan), static_cast<long long>(network->ports.size()) - 1);
        }
        if (!genfuse::has_scratch()) throw std::bad_alloc();
        const auto& ports = network->ports[static_cast<size_t>(plan)];
        const auto from = buffers("inputs", ports.inputs, const_cast<void* const*>(inputs));
        const auto to = buffers("outputs", ports.outputs, outputs);
        network->network.run(static_cast<size_t>(plan), from.data(), to.data(), genfuse::threads_of(threads));
    });
}
