// call: one call as the trace tells it, and the generic replacement that records it, fails it or lets it wait.
#pragma once

#include "compiler.hpp"
#include "handles.hpp"
#include "imports.hpp"
#include "injection.hpp"
#include "system.hpp"
#include "trace.hpp"

#include <windows.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

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
    else if constexpr (std::is_integral_v<Value>) // -1 of an int is ffffffff, not 64 bits of it
        return static_cast<std::make_unsigned_t<Value>>(value);
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

    Line& line() noexcept { return line_; }

private:
    Line& line_;
};

// One call under way.
struct Call {
    const char* name;
    std::uint64_t sequence;
    const void* from;
    DWORD error_before; // what GetLastError said when the program made it
    Injection injection;
};

// Counts the call, looks at the caller's stack, and says who the thread is if nobody did yet.
Call begin_call(Counter& counter, const void* from, const char* stack) noexcept;

// Lets the call wait, if the plan says so.
void hold(const Call& call) noexcept;

// The first of them that was closed and is kept so; null if none.
template <typename... Handles>
HANDLE first_closed(Handles... handles) noexcept
{
    HANDLE found = nullptr;
    ((found == nullptr && is_kept_closed(handles) ? static_cast<void>(found = handles) : static_cast<void>(0)), ...);
    return found;
}

// What a hook tells beyond arguments and result, and what it does otherwise than every hook.
struct Plain {
    static void before(Facts&, auto&&...) noexcept {}             // into the `call` line
    static void after(Facts&, const Call&, auto&&...) noexcept {} // into the `done` line: result, arguments
    static HANDLE closed(auto&&...) noexcept { return nullptr; }  // the handle it must not have been given
    static void failing(auto&&...) noexcept {}                    // what else is so when it fails
    static auto make(const Call&, auto real, auto... arguments) { return real(arguments...); }
    static constexpr bool is_made_even_if_it_fails = false;
    static constexpr bool is_not_yet(DWORD) noexcept { return false; } // then one that is made is not failed after all
    static constexpr DWORD closed_error = ERROR_INVALID_HANDLE;
};

struct FailsWithFalse : Plain {
    static BOOL failure(DWORD) noexcept { return FALSE; }
};
struct FailsWithNull : Plain {
    static HANDLE failure(DWORD) noexcept { return nullptr; }
};
struct FailsWithNoFile : Plain {
    static HANDLE failure(DWORD) noexcept { return INVALID_HANDLE_VALUE; }
};

// The replacement of one function.
template <Name name, typename Signature, typename More>
struct Hook;

template <Name name, typename Result, typename... Arguments, typename More>
struct Hook<name, Result(WINAPI*)(Arguments...), More> {
    using Function = Result(WINAPI*)(Arguments...);

    constinit inline static Function real = nullptr;
    constinit inline static Counter counter{name.characters};

    // Sends every call that the executable makes of the function through `replacement`; nothing happens if it does not
    // import it. From the next call on; a compiler may keep an import's address over several calls of one function, so
    // install before the program begins.
    static void install() noexcept
    {
        const auto function = real == nullptr ? find_function<Function>(name.characters) : nullptr;
        if (function != nullptr &&
            replace_import(reinterpret_cast<const void*>(function), reinterpret_cast<const void*>(&replacement)))
            adopt(function);
    }

    // `function` is called through `replacement` from now on, however the program got it.
    static void adopt(Function function) noexcept
    {
        if (real != nullptr)
            return;
        real = function;
        add_counter(counter);
    }

    static Result WINAPI replacement(Arguments... arguments)
    {
        const Call call = begin_call(counter, PROBE_RETURN_ADDRESS, PROBE_CALLER_STACK);
        Line line = begin_line("call", call.sequence);
        line.field().hex(as_number(call.from)).field().text(name.characters);
        (line.field().hex(as_number(arguments)), ...);
        Facts asked(line);
        More::before(asked, arguments...);
        write(line);
        const HANDLE closed = More::closed(arguments...);
        if (closed != nullptr)
            tell_closed(closed, name.characters);
        else
            hold(call);

        if constexpr (std::is_void_v<Result>) {
            SetLastError(call.error_before);
            real(arguments...);
            finish(call, 0, call.injection.action != Action::none, [](Facts&) noexcept {});
        } else {
            Result result{};
            bool fails = call.injection.action == Action::fail;
            const bool is_made = closed == nullptr && (!fails || More::is_made_even_if_it_fails);
            if (is_made) {
                SetLastError(call.error_before);
                result = More::make(call, real, arguments...);
                if (fails && result == Result{} && More::is_not_yet(GetLastError()))
                    fails = false;
            }
            if (fails || closed != nullptr) {
                More::failing(arguments...);
                const DWORD code = closed != nullptr ? More::closed_error : call.injection.number;
                result = More::failure(code);
                SetLastError(code);
            }
            const bool injected = call.injection.action == Action::fail ? fails : call.injection.action != Action::none;
            finish(call, as_number(result), injected,
                   [&](Facts& came) { More::after(came, call, result, arguments...); });
            return result;
        }
    }

private:
    static void finish(const Call& call, std::uint64_t result, bool injected, auto tell)
    {
        const DWORD error = GetLastError();
        Line line = begin_line("done", call.sequence);
        line.field().hex(result).field().decimal(error);
        Facts came(line);
        tell(came);
        if (injected)
            line.field().text("injected=").text(call.injection.word());
        write(line);
        SetLastError(error);
    }
};

} // namespace probe
