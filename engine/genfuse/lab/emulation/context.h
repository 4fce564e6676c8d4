// A fiber's place in its code. On x86-64 a switch is a few instructions: swapcontext would ask the kernel for
// the signal mask, and AddressSanitizer's would clear what it knows of the stack, at each of millions.
#pragma once

#include <stddef.h>

#ifdef __x86_64__

extern "C" void emulation_switch(void** from, void* to);
// The registers that a call keeps (System V ABI), then the stack.
asm(".text\n"
    ".globl emulation_switch\n"
    ".type emulation_switch,@function\n"
    "emulation_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp,(%rdi)\n  movq %rsi,%rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size emulation_switch,.-emulation_switch\n");

namespace emulation {

class Context {
    void* stack_ = nullptr;  // where it is saved

  public:
    // The first switch to it calls `run`, which does not return.
    void begin(void* stack, size_t bytes, void (*run)()) {
        void** top = reinterpret_cast<void**>(static_cast<char*>(stack) + bytes);
        *--top = nullptr;  // where `run` would return to
        *--top = reinterpret_cast<void*>(run);
        for (int i = 0; i < 6; ++i) *--top = nullptr;
        stack_ = top;
    }
    static void exchange(Context* from, Context* to) { emulation_switch(&from->stack_, to->stack_); }
};

}  // namespace emulation

#else

#include <ucontext.h>

namespace emulation {

class Context {
    ucontext_t context_;

  public:
    void begin(void* stack, size_t bytes, void (*run)()) {
        getcontext(&context_);
        context_.uc_stack.ss_sp = stack;
        context_.uc_stack.ss_size = bytes;
        context_.uc_link = nullptr;
        makecontext(&context_, run, 0);
    }
    static void exchange(Context* from, Context* to) { swapcontext(&from->context_, &to->context_); }
};

}  // namespace emulation

#endif
