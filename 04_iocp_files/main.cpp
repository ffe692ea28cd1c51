// Stage 4, the answer: iocp_files [--blocks N] [--block BYTES] [--depth D] [--threads T] [PATH ...]
// Every file on one completion port; a few workers take each read as it completes. The question: and sockets?
#include "iocp_files.hpp" // F9, F26: a complete program this time, semicolons and all

#include <new>
#include <thread>

struct Options {
    std::uint64_t blocks = 2; // of each file; 0 = all of it
    DWORD block_bytes = 4096;
    std::size_t depth = 32;
    // F18: two numbers that are easily taken for one. The port's own (0 below: as many as there are CPUs) says how
    // many workers may RUN at once; this one says how many there ARE. More than CPUs pays only if workers block.
    std::size_t threads = std::max(1U, std::thread::hardware_concurrency());
    std::vector<std::wstring> paths;
};

static constexpr std::uint64_t furthest_offset = std::numeric_limits<std::int64_t>::max(); // Windows takes no further

static std::optional<Options> parse_options(int argc, const wchar_t* const* argv)
{
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::wstring_view name = argv[i];
        if (!name.starts_with(L"--")) {
            options.paths.emplace_back(name);
            continue;
        }
        const std::wstring_view value = ++i < argc ? argv[i] : L"";
        std::optional<std::uint64_t> number;
        if (name == L"--blocks" && (number = lab::parse_number(value, std::uint64_t{1} << 40)))
            options.blocks = *number;
        else if (name == L"--block" && (number = lab::parse_number(value, std::uint64_t{1} << 30)) && *number > 0)
            options.block_bytes = static_cast<DWORD>(*number);
        else if (name == L"--depth" && (number = lab::parse_number(value, std::uint64_t{1} << 20)) && *number > 0)
            options.depth = static_cast<std::size_t>(*number);
        else if (name == L"--threads" && (number = lab::parse_number(value, std::uint64_t{256})) && *number > 0)
            options.threads = static_cast<std::size_t>(*number);
        else
            return std::nullopt;
    }
    if (options.blocks > furthest_offset / options.block_bytes)
        return std::nullopt;
    if (options.paths.empty())
        options.paths = {lab::system_file(L"kernel32.dll"), lab::system_file(L"ntdll.dll")};
    return options;
}

// How many blocks the file holds, the last one perhaps short.
static std::uint64_t blocks_of(HANDLE file, DWORD block_bytes)
{
    LARGE_INTEGER size{};
    if (!GetFileSizeEx(file, &size))
        throw lab::Win32Error{"GetFileSizeEx", GetLastError()};
    const auto bytes = static_cast<std::uint64_t>(size.QuadPart);
    return bytes / block_bytes + (bytes % block_bytes != 0 ? 1 : 0);
}

static void read_files(const Options& options)
{
    const lab::Port port{CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0)}; // F18: 0: see Options::threads
    if (!port)
        throw lab::Win32Error{"CreateIoCompletionPort", GetLastError()}; // F16

    std::vector<lab::File> files; // F8: each closes its own file, after the reader below is done with it
    std::vector<Source> sources;
    for (std::size_t i = 0; i < options.paths.size(); ++i) {
        try {
            lab::File file{CreateFileW(options.paths[i].c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING,
                                       FILE_FLAG_OVERLAPPED, nullptr)};
            if (!file)
                throw lab::Win32Error{"CreateFile", GetLastError()};
            const ULONG_PTR key = 100 * (i + 1);
            // F17: from here every read of this file ends in a packet with this key. The last argument is ignored when
            // a port is given.
            if (!CreateIoCompletionPort(file.get(), port.get(), key, 0))
                throw lab::Win32Error{"CreateIoCompletionPort", GetLastError()};
            const std::uint64_t blocks =
                options.blocks > 0 ? options.blocks : blocks_of(file.get(), options.block_bytes);
            sources.push_back({file.get(), key, blocks});
            files.push_back(std::move(file));
        } catch (const lab::Win32Error& error) {
            lab::report(error); // F7: this file is left out, the others are read
        }
    }
    const bool in_runs = options.blocks == 0; // whole files: their sizes are known, so that a run ends where one does
    Reader(port.get(), std::move(sources), options.block_bytes, in_runs).run(options.depth, options.threads);
}

int wmain(int argc, wchar_t** argv)
{
    const lab::Utf8Console console;
    const auto options = parse_options(argc, argv);
    if (!options) {
        lab::write_line(STD_ERROR_HANDLE,
                        "usage : iocp_files [--blocks N] [--block BYTES] [--depth D] [--threads T] [PATH ...]");
        return lab::wrong_usage;
    }
    try {
        read_files(*options);
    } catch (const lab::Win32Error& error) {
        lab::report(error);
    } catch (const std::bad_alloc&) {
        lab::report("operator new", ERROR_NOT_ENOUGH_MEMORY);
    }
    return lab::exit_code();
}
