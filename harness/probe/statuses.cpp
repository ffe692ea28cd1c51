#include "statuses.hpp"

namespace probe {

namespace {

struct Pair {
    DWORD code;
    DWORD status;
};

// What drivers really say, so that the way back gives the code on every system, and in Winsock too.
constexpr Pair pairs[] = {
    {ERROR_ACCESS_DENIED, 0xC0000022},     {ERROR_CRC, 0xC000003F},
    {ERROR_HANDLE_EOF, 0xC0000011},        {ERROR_NETNAME_DELETED, 0xC000020D},
    {ERROR_BROKEN_PIPE, 0xC000014B},       {ERROR_OPERATION_ABORTED, 0xC0000120},
    {ERROR_IO_DEVICE, 0xC0000185},         {ERROR_CONNECTION_ABORTED, 0xC0000241},
    {ERROR_INVALID_PARAMETER, 0xC000000D}, {ERROR_NO_SYSTEM_RESOURCES, 0xC000009A},
};

} // namespace

LONG status_of(DWORD code) noexcept
{
    for (const Pair& pair : pairs)
        if (pair.code == code)
            return static_cast<LONG>(pair.status);
    return static_cast<LONG>(0xC0010000U | (code & 0xFFFFU)); // any other code, taken back as it is
}

} // namespace probe
