// trace: what the probe writes down, into a mapped file that survives whatever happens to the process.
//
// One line for each event, fields separated by one tab, first the kind:
//
//     call  SEQ THREAD MICROSECONDS RETURN_ADDRESS NAME ARGUMENT ...     a call begins; arguments in hex
//     done  SEQ THREAD MICROSECONDS RESULT ERROR NAME=VALUE ...          it has returned; ERROR is GetLastError, decimal
//     note  SEQ THREAD MICROSECONDS WORD ...                             something that is no call
//
// SEQ joins a `done` to its `call`; a `call` without a `done` was still under way when the process ended. Addresses and
// handles are hex without 0x. The file's first eight bytes are the number of bytes used, in the machine's own order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace probe {

// A line in the making: fixed room, no allocation, since it is written inside operator new and during a crash.
class Line {
public:
    Line& text(std::string_view text) noexcept;
    Line& hex(std::uint64_t number) noexcept;
    Line& decimal(std::uint64_t number) noexcept;
    Line& field() noexcept { return text("\t"); }
    std::string_view view() const noexcept { return {characters_, length_}; }

private:
    char characters_[480];
    std::size_t length_ = 0;
};

// Opens the file that the environment variable LAB_TRACE names (made anew). Without it nothing is written. Call it once,
// before any import is replaced.
void open_trace() noexcept;

bool is_tracing() noexcept;

// Appends one line, from any thread. When the file is full, lines are dropped, and the last line says so.
void write(const Line& line) noexcept;

// What every line begins with: kind, sequence number, thread, microseconds since open_trace.
Line begin_line(std::string_view kind, std::uint64_t sequence) noexcept;

std::uint64_t next_sequence() noexcept;

} // namespace probe
