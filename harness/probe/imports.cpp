#include "imports.hpp"

#include <windows.h>

namespace probe {

namespace {

template <typename T>
const T* at(const char* base, DWORD offset) noexcept
{
    return reinterpret_cast<const T*>(base + offset);
}

// The slots lie in a section that is read-only once the program is loaded.
void put(void** slot, void* value) noexcept
{
    DWORD before = 0;
    if (!VirtualProtect(slot, sizeof *slot, PAGE_READWRITE, &before))
        return;
    *slot = value;
    VirtualProtect(slot, sizeof *slot, before, &before);
}

} // namespace

bool replace_import(const void* real, const void* replacement) noexcept
{
    const char* const base = reinterpret_cast<const char*>(GetModuleHandleW(nullptr));
    const auto* const dos = at<IMAGE_DOS_HEADER>(base, 0);
    const auto* const headers = at<IMAGE_NT_HEADERS>(base, static_cast<DWORD>(dos->e_lfanew));
    const IMAGE_DATA_DIRECTORY& imports = headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT];
    if (imports.Size == 0)
        return false;
    bool found = false;
    for (const auto* library = at<IMAGE_IMPORT_DESCRIPTOR>(base, imports.VirtualAddress); library->Name != 0;
         ++library) {
        auto* slot = reinterpret_cast<void**>(const_cast<char*>(base) + library->FirstThunk);
        for (; *slot != nullptr; ++slot) {
            if (*slot == real) {
                put(slot, const_cast<void*>(replacement));
                found = true;
            }
        }
    }
    return found;
}

} // namespace probe
