#include "system.hpp"

#include <iterator>

namespace probe {

namespace {

// Only what is loaded already: a program without Winsock stays one.
constexpr const char* names[] = {"kernel32.dll", "ws2_32.dll",    "mswsock.dll",         "msvcrt.dll",
                                 "ucrtbase.dll", "ucrtbased.dll", "libwinpthread-1.dll", "ntdll.dll"};
constinit HMODULE modules[std::size(names)]{};
constinit bool modules_known = false; // looked up once: a search for one that is not there takes a millisecond

} // namespace

void* find_exported(const char* name) noexcept
{
    for (std::size_t i = 0; i < std::size(names); ++i) {
        if (!modules_known)
            modules[i] = GetModuleHandleA(names[i]);
    }
    modules_known = true;
    for (const HMODULE module : modules)
        if (const FARPROC found = module != nullptr ? GetProcAddress(module, name) : nullptr)
            return reinterpret_cast<void*>(found);
    return nullptr;
}

namespace {

template <typename Function>
void look_up(Function& function, const char* name) noexcept
{
    function = find_function<Function>(name);
}

System look_up_all() noexcept
{
    System found{};
    look_up(found.heap_alloc, "HeapAlloc");
    look_up(found.heap_free, "HeapFree");
    look_up(found.virtual_alloc, "VirtualAlloc");
    look_up(found.create_event, "CreateEventW");
    look_up(found.set_event, "SetEvent");
    look_up(found.reset_event, "ResetEvent");
    look_up(found.close_handle, "CloseHandle");
    look_up(found.create_thread, "CreateThread");
    look_up(found.wait_for_single_object, "WaitForSingleObject");
    look_up(found.sleep, "Sleep");
    look_up(found.peek_named_pipe, "PeekNamedPipe");
    look_up(found.set_io_completion, "NtSetIoCompletion");
    return found;
}

constinit System functions{};

} // namespace

const System& os() noexcept
{
    // Not a static inside: its guard would need the C++ runtime. The first call comes before there is a second thread.
    if (functions.heap_alloc == nullptr)
        functions = look_up_all();
    return functions;
}

} // namespace probe
