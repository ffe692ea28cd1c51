// trace: what the probe writes down, into a mapped file that survives whatever happens to the process.
//
// One line for each event, fields separated by one tab, first the kind:
//
//     call  SEQ THREAD MICROSECONDS RETURN_ADDRESS NAME ARGUMENT ...     a call begins; arguments in hex
//     done  SEQ THREAD MICROSECONDS RESULT ERROR NAME=VALUE ...          it has returned; ERROR is GetLastError, decimal
//     note  SEQ THREAD MICROSECONDS WORD ...                             something that is no call
//
// SEQ joins a `done` to its `call`; a `call` without a `done` was still under way when the process ended. Addresses and
// handles are hex without 0x; `block` and `of` are decimal. The file's first eight bytes are the number of bytes used, in
// the machine's own order.
//
// Facts of a submit: ov= ov_in= buf= buf_in= len= off= event= internal=, where an address is in heap:BLOCK, stack:THREAD,
// static or other. Of a nanosleep: ns=. A call that the plan steered ends with injected=ACTION. The notes:
//
//     begin base= processors= cpu=     the first line; base: where the executable lies; how many processors the program
//                                      is told that there are; cpu: the processor time so far, in milliseconds
//     thread-start low= high= of=      of: the call that created it; not known of main's and the system's threads
//     thread-end
//     alloc block= size= at=           where a block came from, before the first submit that refers to it
//     free block= how= at= callers=    such a block was given up; it stays where it is, in quarantine
//     double-free block= at= callers=  ... and once more; block 0: one that is no longer known
//     written-after-free block=        told at the end, of such a block
//     never-freed blocks= bytes= at=   told at the end: so many that were made at one place
//     mismatch block= made= freed= at= callers=   of any block
//                                      callers: the return addresses behind `at`, the nearest first
//     frame-left ov=                   the frame is gone in which a request in flight, or its buffer, lay
//     called-back ov= bytes= error=    a completion routine is about to be called
//     closed-handle handle= name=      a call with a handle that was closed; it fails with 6 (a socket call with 10038)
//     bad-injection item=              a part of the plan that was not understood
//     exit cpu= code=                  the process ends in order; code: with what, if that is known
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
    char characters_[4096];
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
