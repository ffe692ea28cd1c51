// start: the loader calls this before anything of the program runs, static constructors included, and again when a
// thread or the process ends.
#include "blocks.hpp"
#include "call.hpp"
#include "hooks.hpp"
#include "memory.hpp"
#include "processors.hpp"
#include "requests.hpp"
#include "threads.hpp"

#include <atomic>
#include <cstdint>
#include <cstdlib>

namespace probe {

namespace {

// So far, of all its threads.
std::uint64_t processor_ms() noexcept
{
    FILETIME made{};
    FILETIME ended_at{};
    FILETIME parts[2]{}; // in the kernel, and outside
    GetProcessTimes(GetCurrentProcess(), &made, &ended_at, &parts[0], &parts[1]);
    std::uint64_t ticks = 0; // of 100 ns
    for (const FILETIME& part : parts)
        ticks += (std::uint64_t{part.dwHighDateTime} << 32U) | part.dwLowDateTime;
    return ticks / 10'000;
}

void(__cdecl* real_exit)(int) = nullptr;
void(__cdecl* real_exit_at_once)(int) = nullptr;
void(WINAPI* real_exit_process)(UINT) = nullptr;
decltype(&::TerminateProcess) real_terminate = nullptr;
constinit std::atomic<bool> ended{false};
constinit std::atomic<std::int64_t> exit_code{-1}; // negative: not known

// Whichever way is met first: Wine does not tell an executable's callbacks of the process's end.
void __cdecl end() noexcept
{
    if (ended.exchange(true))
        return;
    const KeepLastError keep;
    tell_writes_after_free();
    tell_what_was_never_freed();
    Line line = begin_line("note", next_sequence());
    line.field().text("exit").field().text("cpu=").hex(processor_ms());
    if (const std::int64_t code = exit_code; code >= 0)
        line.field().text("code=").hex(static_cast<std::uint64_t>(code));
    write(line);
}

void end_with(UINT code) noexcept
{
    exit_code = code;
    end();
}

// main has returned, or somebody calls exit: from main's caller no frame of main is left. Not recorded.
void __cdecl probed_exit(int code)
{
    exit_code = static_cast<UINT>(code);
    tell_frames_left(PROBE_CALLER_STACK);
    real_exit(code);
}

void __cdecl probed_exit_at_once(int code)
{
    end_with(static_cast<UINT>(code));
    real_exit_at_once(code);
}

[[noreturn]] void WINAPI probed_exit_process(UINT code)
{
    end_with(code);
    real_exit_process(code);
    std::abort();
}

// A program that ends itself so to say that all is well is held to what it leaves behind, like any other. With another
// code it is the emergency exit: what a thread cannot wait for must not be given back.
BOOL WINAPI probed_terminate(HANDLE process, UINT code)
{
    if (code == 0 && process == GetCurrentProcess())
        end_with(code);
    return real_terminate(process, code);
}

template <typename Function>
void replace(const char* name, Function& real, Function replacement) noexcept
{
    real = find_function<Function>(name);
    replace_import(reinterpret_cast<const void*>(real), reinterpret_cast<const void*>(replacement));
}

void begin() noexcept
{
    open_trace();
    install_processors();
    if (is_tracing()) {
        Line line = begin_line("note", next_sequence());
        line.field().text("begin").field().text("base=").hex(as_number(GetModuleHandleW(nullptr)));
        line.field().text("processors=").hex(processors()).field().text("cpu=").hex(processor_ms());
        write(line);
        announce_thread();
    }
    plan_injections_from_environment();
    install_all();
    install_memory();
    replace<void(__cdecl*)(int)>("exit", real_exit, &probed_exit);
    replace<void(__cdecl*)(int)>("_exit", real_exit_at_once, &probed_exit_at_once);
    replace<void(WINAPI*)(UINT)>("ExitProcess", real_exit_process, &probed_exit_process);
    replace("TerminateProcess", real_terminate, &probed_terminate);
    std::atexit(&end); // the first to be registered is the last to be called: after all static destructors
}

void end_thread() noexcept
{
    tell_stack_left();
    forget_thread();
}

void NTAPI on_loader_event(void*, DWORD reason, void*) noexcept
{
    const KeepLastError keep;
    if (reason == DLL_PROCESS_ATTACH)
        begin();
    else if (reason == DLL_THREAD_DETACH)
        end_thread();
    else if (reason == DLL_PROCESS_DETACH)
        end();
}

} // namespace

} // namespace probe

// The list of such functions is laid together by the linker, in the order of the sections' names; B comes before the C
// runtime's own.
#if defined(_MSC_VER)
#pragma comment(linker, "/INCLUDE:_tls_used")
#pragma section(".CRT$XLB", long, read)
extern "C" __declspec(allocate(".CRT$XLB")) const PIMAGE_TLS_CALLBACK probe_on_loader_event = &probe::on_loader_event;
#else
extern "C" [[gnu::section(".CRT$XLB"), gnu::used]] const PIMAGE_TLS_CALLBACK probe_on_loader_event =
    &probe::on_loader_event;
#endif
