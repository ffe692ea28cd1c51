// call: one Win32 call as the trace tells it, and the generic replacement that records it.
#pragma once

#include "imports.hpp"
#include "trace.hpp"

#include <windows.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#if defined(_MSC_VER)
#include <intrin.h>
#define PROBE_RETURN_ADDRESS _ReturnAddress()
#else
#define PROBE_RETURN_ADDRESS __builtin_return_address(0)
#endif

namespace probe {

// A function's name as a template argument.
template <std::size_t Size>
struct Name {
    consteval Name(const char (&text)[Size])
    {
        for (std::size_t i = 0; i < Size; ++i)
            characters[i] = text[i];
    }
    char characters[Size]{};
};

template <typename Value>
std::uint64_t as_number(Value value) noexcept
{
    if constexpr (std::is_pointer_v<Value>)
        return reinterpret_cast<std::uintptr_t>(value);
    else
        return static_cast<std::uint64_t>(value);
}

// What stands where a call's pointers point, as name=value at the end of a line.
class Facts {
public:
    explicit Facts(Line& line) noexcept : line_(line) {}

    Facts& value(std::string_view name, std::uint64_t value) noexcept
    {
        line_.field().text(name).text("=").hex(value);
        return *this;
    }

    // What stands behind the pointer, if there is one.
    template <typename Value>
    Facts& behind(std::string_view name, const Value* pointer) noexcept
    {
        return pointer != nullptr ? value(name, as_number(*pointer)) : *this;
    }

private:
    Line& line_;
};

// What a hook tells beyond arguments and result: `before` the call, into its `call` line, and `after` it, into `done`.
struct NothingMore {
    static void before(Facts&, auto&&...) noexcept {}
    static void after(Facts&, auto&&...) noexcept {}
};

// The replacement of one function.
template <Name name, typename Signature, typename More = NothingMore>
struct Hook;

template <Name name, typename Result, typename... Arguments, typename More>
struct Hook<name, Result(WINAPI*)(Arguments...), More> {
    inline static Result(WINAPI* real)(Arguments...) = nullptr;

    // Sends every call that the executable makes of `function` through `replacement`. From the next call on; a compiler
    // may keep an import's address over several calls of one function, so install before the program begins.
    static void install(Result(WINAPI* function)(Arguments...)) noexcept
    {
        if (real != nullptr) // a second time `function`, read from the import, would be the replacement itself
            return;
        real = function;
        replace_import(reinterpret_cast<const void*>(function), reinterpret_cast<const void*>(&replacement));
    }

    static Result WINAPI replacement(Arguments... arguments)
    {
        const DWORD error_before = GetLastError();
        const std::uint64_t sequence = next_sequence();
        Line call = begin_line("call", sequence);
        call.field().hex(as_number(PROBE_RETURN_ADDRESS)).field().text(name.characters);
        (call.field().hex(as_number(arguments)), ...);
        Facts asked(call);
        More::before(asked, arguments...);
        write(call);

        SetLastError(error_before);
        const Result result = real(arguments...);
        const DWORD error = GetLastError();

        Line done = begin_line("done", sequence);
        done.field().hex(as_number(result)).field().decimal(error);
        Facts came(done);
        More::after(came, result, arguments...);
        write(done);
        SetLastError(error);
        return result;
    }
};

} // namespace probe
