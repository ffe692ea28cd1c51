// Stage 1: event_wait [PATH [OFFSET [TIMEOUT_MS]]]
// One thread asks for a read and waits for it on an event. The question: what does that thread do meanwhile?
#include "event_wait.hpp" // E14: below it stands <windows.h>, in lower case: some file systems find it only so

#include <array>

static void read_one_block(const lab::ReadArguments& arguments)
{
    // E13: any file, by its wide name. The A functions lose every character the code page does not have.
    const lab::File file{CreateFileW(arguments.path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING,
                                     FILE_FLAG_OVERLAPPED, nullptr)};
    if (!file)
        throw lab::Win32Error{"CreateFile", GetLastError()}; // E4: INVALID_HANDLE_VALUE is nothing to read from

    // E6: TRUE = manual-reset. Two calls look at this event, the wait and GetOverlappedResult; an auto-reset event
    // is used up by the first and may leave the second waiting for ever. E10: its owner closes it on every path.
    const lab::Event done{CreateEventW(nullptr, TRUE, FALSE, nullptr)};
    if (!done)
        throw lab::Win32Error{"CreateEvent", GetLastError()}; // E5: now, while nothing is in flight

    std::array<std::byte, 4096> buffer{};
    OVERLAPPED request{};
    request.hEvent = done.get();
    set_offset(request, arguments.offset);

    const Started started = start_read(file.get(), buffer, request);
    if (started.outcome == Outcome::refused)
        throw lab::Win32Error{"ReadFile", started.error};

    // The kernel owns request and buffer from here ...
    lab::print_line(started.outcome == Outcome::pending ? "main : pending" : "main : completed at once");
    const Finished finished = finish_read(file.get(), request, arguments.timeout_ms);
    // ... to here: the completion hands both back.

    lab::print_line("main : I/O Complete");
    lab::print_line("error : ", finished.error);
    lab::print_line("bytes : ", finished.bytes); // E9: a read may bring less than was asked for
    if (finished.bytes > 0)
        lab::print_line("data : ", lab::hex(std::span(buffer).first(finished.bytes)));
    if (finished.error != ERROR_SUCCESS)
        lab::report("ReadFile", finished.error);
}

int wmain(int argc, wchar_t** argv)
{
    const lab::Utf8Console console;
    const auto arguments = lab::parse_read_arguments("event_wait", argc, argv);
    if (!arguments)
        return lab::wrong_usage;
    try {
        read_one_block(*arguments);
    } catch (const lab::Win32Error& error) {
        lab::report(error);
    }
    return lab::exit_code(); // E12: success says what it read, and every failure leaves 1; E11: and no key is awaited
}
