// Stage 4, the problem: four_reads [PATH1 PATH2]
// Two blocks of each of two files, all asked for before the first is there. The question: who waits, and for which?
// Here one thread waits for four events. WaitForMultipleObjects ends at 64, and tells of all or of one, never of "the
// next"; and the thread that waits does nothing else. iocp_files is the answer.
#include "four_reads.hpp"

#include <vector>

static lab::File open(const std::wstring& path)
{
    lab::File file{CreateFileW(path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING,
                               FILE_FLAG_OVERLAPPED, nullptr)};
    if (!file)
        throw lab::Win32Error{"CreateFile", GetLastError()}; // F7: no file, no reads of it to wait for
    return file;
}

class Totals {
public:
    void completed(const OVERLAPPED_PLUS& request, DWORD bytes) noexcept // both: others are still in flight
    {
        ++reads_;
        bytes_ += bytes;
        lab::print_line("COMPLETE : ", request.id, ", ", bytes, " : ",
                        lab::hex({request.buffer.get(), static_cast<std::size_t>(bytes)}));
    }
    void failed(int id, DWORD error) noexcept
    {
        ++reads_;
        ++failed_;
        lab::something_failed = true;
        lab::print_line("FAILED : ", id, ", ", error, " : ", lab::system_text(error));
    }
    void print() const { lab::print_line("done : ", reads_, " reads, ", bytes_, " bytes, ", failed_, " failed"); }

private:
    int reads_ = 0;
    std::uint64_t bytes_ = 0;
    int failed_ = 0;
};

static void read_four_blocks(const std::wstring& path1, const std::wstring& path2)
{
    const lab::File file1 = open(path1);
    const lab::File file2 = open(path2);

    // Room first: a vector that had to grow could throw with reads in flight, and free them under the kernel.
    std::vector<std::unique_ptr<OVERLAPPED_PLUS>> in_flight;
    std::vector<HANDLE> events;
    in_flight.reserve(4);
    events.reserve(4);
    Totals totals;

    const auto ask = [&](HANDLE file, std::uint64_t offset, int id) {
        Started started = Read4kAsync(file, offset, id);
        if (started.request) {
            events.push_back(started.request->hEvent);
            in_flight.push_back(std::move(started.request));
        } else {
            lab::report(started.call, started.error);
            totals.failed(id, started.error);
        }
    };
    ask(file1.get(), 0, 1);
    ask(file1.get(), block_size, 2);
    ask(file2.get(), 0, 3);
    ask(file2.get(), block_size, 4);
    lab::print_line("Main Continue ..");

    if (!events.empty() &&
        WaitForMultipleObjects(static_cast<DWORD>(events.size()), events.data(), TRUE, INFINITE) == WAIT_FAILED)
        lab::report("WaitForMultipleObjects", GetLastError()); // each is waited for below all the same

    for (const auto& request : in_flight) {
        DWORD bytes = 0;
        if (GetOverlappedResult(request->file, request.get(), &bytes, TRUE)) {
            totals.completed(*request, bytes);
            continue;
        }
        const DWORD error = GetLastError();
        if (!HasOverlappedIoCompleted(request.get())) // the wait in that call has failed: the kernel still has it
            lab::end_process("GetOverlappedResult", error);
        totals.failed(request->id, error);
    }
    totals.print();
} // every completion was seen above: contexts, events and files may go

int wmain(int argc, wchar_t** argv)
{
    const lab::Utf8Console console;
    if (argc != 1 && argc != 3) {
        lab::write_line(STD_ERROR_HANDLE, "usage : four_reads [PATH1 PATH2]");
        return lab::wrong_usage;
    }
    try {
        if (argc == 3)
            read_four_blocks(argv[1], argv[2]);
        else
            read_four_blocks(lab::system_file(L"kernel32.dll"), lab::system_file(L"ntdll.dll"));
    } catch (const lab::Win32Error& error) {
        lab::report(error);
    }
    return lab::exit_code();
}
