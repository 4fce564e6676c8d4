#include "samplers/registry.h"

#include <string.h>

#include "common/error.h"

namespace genfuse {
namespace samplers {
namespace {

constexpr unsigned bit(LevelKind kind) {
    return 1u << static_cast<int>(kind);
}

constexpr unsigned kSchedule = bit(LevelKind::schedule), kFlow = bit(LevelKind::flow);
constexpr unsigned kTimed = kSchedule | kFlow;  // coefficients that read training times, or times between
constexpr unsigned kAny = kTimed | bit(LevelKind::edm);

#define ORDER(k) {"order", k, nullptr}
#define ALGORITHM(name) {"algorithm", 0, name}

constexpr Solver kSolvers[] = {
    {"ddim", ddim, kAny, {}},
    {"ddpm", ddpm, kAny, {}},
    {"deis", deis, kAny, {}},
    {"dpm2", dpm2, kTimed, {}},
    {"dpm2_ancestral", dpm2_ancestral, kTimed, {}},
    {"dpm_2m", dpmpp_multistep, kAny, {ORDER(2), ALGORITHM("dpmsolver")}},
    {"dpm_2m_sde", dpmpp_multistep, kAny, {ORDER(2), ALGORITHM("sde-dpmsolver")}},
    {"dpm_2s", dpmpp_singlestep, kAny, {ORDER(2), ALGORITHM("dpmsolver")}},
    {"dpm_3m", dpmpp_multistep, kAny, {ORDER(3), ALGORITHM("dpmsolver")}},
    {"dpm_3s", dpmpp_singlestep, kAny, {ORDER(3), ALGORITHM("dpmsolver")}},
    {"dpmpp_2m", dpmpp_multistep, kAny, {ORDER(2)}},
    {"dpmpp_2m_sde", dpmpp_multistep, kAny, {ORDER(2), ALGORITHM("sde-dpmsolver++")}},
    {"dpmpp_2s", dpmpp_singlestep, kAny, {ORDER(2)}},
    {"dpmpp_3m", dpmpp_multistep, kAny, {ORDER(3)}},
    {"dpmpp_3m_sde", dpmpp_multistep, kAny, {ORDER(3), ALGORITHM("sde-dpmsolver++")}},
    {"dpmpp_3s", dpmpp_singlestep, kAny, {ORDER(3)}},
    {"dpmpp_sde", dpmpp_sde, kTimed, {}},
    {"euler", euler, kAny, {}},
    {"euler_ancestral", euler_ancestral, kAny, {}},
    {"flow_euler", flow_euler, kFlow, {}},
    {"flow_heun", flow_heun, kFlow, {}},
    {"heun", heun, kAny, {}},
    {"ipndm", ipndm, kAny, {}},
    {"lcm", lcm, kTimed, {}},
    {"lms", lms, kAny, {}},
    {"pndm", pndm, kTimed, {}},
    {"sa_solver", sa_solver, kTimed, {}},
    {"tcd", tcd, kSchedule, {}},
    {"unipc", unipc, kAny, {}},
};
constexpr int64_t kCount = sizeof kSolvers / sizeof *kSolvers;

#undef ORDER
#undef ALGORITHM

const char* level_name(LevelKind kind) {
    static const char* const names[] = {"a noise schedule", "'flow'", "EDM's"};
    return names[static_cast<int>(kind)];
}

}  // namespace

Table Solver::table(const Grid& grid, const char* prediction, const Levels& given, const Clip& clip,
                    Options& options) const {
    if ((levels & bit(given.kind())) == 0) {
        refuse("schedule is %s, expected %s: sampler '%s' holds for no other levels",
               level_name(given.kind()),
               levels == kFlow       ? "'flow'"
               : levels == kSchedule ? "a noise schedule"
                                     : "a noise schedule or 'flow'",
               name);
    }
    const Predictor predictor = given.predictor(prediction);
    Table table = build({grid, predictor, clip, given.schedule()}, options);
    table.check();
    return table;
}

const char* solver_name(int64_t i) {
    return i >= 0 && i < kCount ? kSolvers[i].name : nullptr;
}

const Solver& solver(const char* name) {
    const char* names[kCount];
    for (int64_t i = 0; i < kCount; ++i) names[i] = kSolvers[i].name;
    return kSolvers[check_name("sampler", name, names)];
}

}  // namespace samplers
}  // namespace genfuse
