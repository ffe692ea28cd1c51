// files_on_ports: which file sends its packets where.
#pragma once

#include <windows.h>

namespace probe {

struct FileOnPort {
    HANDLE file = nullptr;
    HANDLE port = nullptr; // null: on none
    ULONG_PTR key = 0;
    bool skips = false; // FILE_SKIP_COMPLETION_PORT_ON_SUCCESS
};

FileOnPort port_of(HANDLE file) noexcept;

} // namespace probe
