// statuses: Win32 codes as the NTSTATUS that a completion carries.
#pragma once

#include <windows.h>

namespace probe {

LONG status_of(DWORD code) noexcept;

} // namespace probe
