// The peer that stage 4 is measured beside: the same lines for the same blocks, by one thread and one blocking read after
// the other.
//
//     sync_read BLOCK_BYTES PATH
#include "lab.hpp"

#include <vector>

static void read_file(const wchar_t* path, DWORD block_bytes)
{
    const lab::File file{CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, 0, nullptr)};
    if (!file)
        throw lab::Win32Error{"CreateFile", GetLastError()};
    std::vector<std::byte> buffer(block_bytes);
    std::uint64_t reads = 0;
    std::uint64_t bytes = 0;
    for (DWORD got = 0;; bytes += got) {
        if (!ReadFile(file.get(), buffer.data(), block_bytes, &got, nullptr))
            throw lab::Win32Error{"ReadFile", GetLastError()};
        if (got == 0)
            break;
        ++reads;
        lab::print_line("COMPLETE : ", 100, ", ", reads, ", ", got, " : ", lab::hex({buffer.data(), got}));
    }
    lab::print_line("done : ", reads, " reads, ", bytes, " bytes, ", 0, " failed");
}

int wmain(int argc, wchar_t** argv)
{
    const auto block_bytes = argc == 3 ? lab::parse_number<DWORD>(argv[1]) : std::nullopt;
    if (!block_bytes || *block_bytes == 0) {
        lab::write_line(STD_ERROR_HANDLE, "usage : sync_read BLOCK_BYTES PATH");
        return lab::wrong_usage;
    }
    try {
        read_file(argv[2], *block_bytes);
    } catch (const lab::Win32Error& error) {
        lab::report(error);
    }
    return lab::exit_code();
}
