#include "processors.hpp"

#include "imports.hpp"
#include "system.hpp"

#include <cwchar>

namespace probe {

namespace {

using TellsSystem = void(WINAPI*)(SYSTEM_INFO*);

constinit DWORD told = 0; // 0: the truth
constinit TellsSystem real_system_info = nullptr;
constinit TellsSystem real_native_system_info = nullptr;

void WINAPI system_info(SYSTEM_INFO* info)
{
    real_system_info(info);
    info->dwNumberOfProcessors = told;
}

void WINAPI native_system_info(SYSTEM_INFO* info)
{
    real_native_system_info(info);
    info->dwNumberOfProcessors = told;
}

DWORD WINAPI active_processor_count(WORD)
{
    return told;
}

int __cdecl posix_processors() // winpthread's, which std::thread::hardware_concurrency asks
{
    return static_cast<int>(told);
}

// Returns the real one.
template <typename Function>
Function* replace(const char* name, Function* replacement) noexcept
{
    Function* const real = find_function<Function*>(name);
    if (real != nullptr)
        replace_import(reinterpret_cast<const void*>(real), reinterpret_cast<const void*>(replacement));
    return real;
}

} // namespace

DWORD processors() noexcept
{
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return info.dwNumberOfProcessors;
}

void install_processors() noexcept
{
    wchar_t text[16];
    const DWORD length = GetEnvironmentVariableW(L"LAB_PROCESSORS", text, 16);
    told = length > 0 && length < 16 ? static_cast<DWORD>(std::wcstoul(text, nullptr, 10)) : 0;
    if (told == 0)
        return;
    real_system_info = replace("GetSystemInfo", &system_info);
    real_native_system_info = replace("GetNativeSystemInfo", &native_system_info);
    replace("GetActiveProcessorCount", &active_processor_count);
    replace("pthread_num_processors_np", &posix_processors);
}

} // namespace probe
