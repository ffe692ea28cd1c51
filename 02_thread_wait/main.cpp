// Stage 2: thread_wait [PATH [OFFSET [TIMEOUT_MS]]]
// main asks and goes on; the thread foo waits. The question: foo hears that the data has come, but where is it?
#include "thread_wait.hpp"

#include <array>

static void read_one_block(const lab::ReadArguments& arguments)
{
    const lab::File file{CreateFileW(arguments.path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING,
                                     FILE_FLAG_OVERLAPPED, nullptr)};
    if (!file)
        throw lab::Win32Error{"CreateFile", GetLastError()};
    const lab::Event done{CreateEventW(nullptr, TRUE, FALSE, nullptr)};
    if (!done)
        throw lab::Win32Error{"CreateEvent", GetLastError()};

    // T8: the kernel and foo both use this frame's memory, so this frame must outlive both: no way out of the
    // function between start_read and the join.
    std::array<std::byte, 4096> buffer{};
    OVERLAPPED request{};
    request.hEvent = done.get();
    set_offset(request, arguments.offset);

    const Started started = start_read(file.get(), buffer, request);
    if (started.outcome == Outcome::refused)
        throw lab::Win32Error{"ReadFile", started.error};

    // The kernel owns request and buffer from here ...
    lab::print_line(started.outcome == Outcome::pending ? "main : pending" : "main : completed at once");
    Waiter waiter{file.get(), &request, arguments.timeout_ms};
    if (const lab::Thread thread = start_thread(foo, &waiter)) { // T16: a thread per request; a thousand requests?
        lab::print_line("Main Continue ..");                     // main is free for other work here
        lab::join(thread);                                       // T9: or the process could end before foo has spoken
    } else {
        // T10: without foo nobody waits, and this frame is about to end under the kernel: give up and wait here.
        lab::report("_beginthreadex", GetLastError());
        finish_read(file.get(), request, 0);
        return;
    }
    // ... to here: foo saw the completion, and the join brought that knowledge back to main.

    if (waiter.finished.bytes > 0)
        lab::print_line("main : data : ", lab::hex(std::span(buffer).first(waiter.finished.bytes)));
    if (waiter.finished.error != ERROR_SUCCESS)
        lab::report("ReadFile", waiter.finished.error);
} // T7: the file is closed here, after the join; closing it under foo would end the read it waits for

int wmain(int argc, wchar_t** argv)
{
    const lab::Utf8Console console;
    const auto arguments = lab::parse_read_arguments("thread_wait", argc, argv);
    if (!arguments)
        return lab::wrong_usage;
    try {
        read_one_block(*arguments);
    } catch (const lab::Win32Error& error) {
        lab::report(error);
    }
    return lab::exit_code();
}
