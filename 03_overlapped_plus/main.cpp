// Stage 3: overlapped_plus [PATH [OFFSET [TIMEOUT_MS]]]
// The context carries the buffer, so foo can use the data. The question: must every request have a thread of its own?
#include "overlapped_plus.hpp"

static void read_one_block(const lab::ReadArguments& arguments)
{
    const lab::File file{CreateFileW(arguments.path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING,
                                     FILE_FLAG_OVERLAPPED, nullptr)};
    if (!file)
        throw lab::Win32Error{"CreateFile", GetLastError()};

    // P2, P3, P15: one name, one pointer, one buffer, and that one inside the context. P4: until foo has it, this owner
    // frees it on every path out of here.
    auto context = std::make_unique<OVERLAPPED_PLUS>(file.get(), arguments.offset, arguments.timeout_ms);

    const Started started = start_read(*context);
    if (started.outcome == Outcome::refused)
        throw lab::Win32Error{"ReadFile", started.error};

    // The kernel owns the context from here until its completion is seen.
    lab::print_line(started.outcome == Outcome::pending ? "main : pending" : "main : completed at once");
    const lab::Thread thread = start_thread(foo, context.get()); // P9: its handle has an owner too
    if (!thread) {
        lab::report("_beginthreadex", GetLastError());
        context->timeout_ms = 0; // nobody else will wait: give up and see the completion here, then free
        finish_read(*context);
        return;
    }
    // foo may have seen the completion and freed the context already: main lets go of the pointer and never looks back.
    static_cast<void>(context.release());

    lab::print_line("Main Continue ..");
    lab::join(thread); // P10: foo bounds the wait, main waits for foo; without it main would end before any output
} // the file is closed here, once, by its own owner

int wmain(int argc, wchar_t** argv)
{
    const lab::Utf8Console console;
    const auto arguments = lab::parse_read_arguments("overlapped_plus", argc, argv);
    if (!arguments)
        return lab::wrong_usage;
    try {
        read_one_block(*arguments);
    } catch (const lab::Win32Error& error) {
        lab::report(error);
    }
    return lab::exit_code();
}
