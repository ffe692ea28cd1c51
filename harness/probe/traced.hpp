// What the probe's units share: one trace for the whole test program, all hooks in it, and a look at its lines.
#pragma once

#include "call.hpp"
#include "hooks.hpp"
#include "memory.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace units {

// A line of the trace, taken apart.
struct Entry {
    std::vector<std::string> fields;

    const std::string& kind() const { return fields[0]; }
    const std::string& name() const { return fields[kind() == "call" ? 5 : 4]; } // of a call, or a note's word
    std::string fact(const std::string& wanted) const
    {
        for (const std::string& field : fields)
            if (field.starts_with(wanted + "="))
                return field.substr(wanted.size() + 1);
        return "(none)";
    }
};

inline std::string hex(std::uint64_t number)
{
    return std::string(probe::Line().hex(number).view());
}

template <typename Pointer>
std::string hex_of(Pointer* pointer)
{
    return hex(probe::as_number(pointer));
}

inline std::wstring& trace_path()
{
    static std::wstring path;
    return path;
}

// Opens the trace and installs the hooks, once, whichever test comes first.
inline void begin_trace()
{
    if (probe::is_tracing())
        return;
    wchar_t folder[MAX_PATH];
    ASSERT_NE(GetTempPathW(MAX_PATH, folder), 0U);
    trace_path() = std::wstring(folder) + L"probe-" + std::to_wstring(GetCurrentProcessId()) + L".trace";
    SetEnvironmentVariableW(L"LAB_TRACE", trace_path().c_str());
    probe::open_trace();
    ASSERT_TRUE(probe::is_tracing());
    probe::install_all();
    probe::install_memory();
}

// The file as another process would find it now. By the real functions: looking must not be recorded.
inline std::string trace_text()
{
    static const auto open = probe::find_function<decltype(&CreateFileW)>("CreateFileW");
    static const auto read = probe::find_function<decltype(&ReadFile)>("ReadFile");
    const HANDLE file = open(trace_path().c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr,
                             OPEN_EXISTING, 0, nullptr);
    std::uint64_t used = 0;
    DWORD bytes = 0;
    EXPECT_TRUE(read(file, &used, sizeof used, &bytes, nullptr));
    std::string text(static_cast<std::size_t>(used), '\0');
    EXPECT_TRUE(read(file, text.data(), static_cast<DWORD>(text.size()), &bytes, nullptr));
    probe::os().close_handle(file);
    return text;
}

class Traced : public testing::Test {
protected:
    void SetUp() override
    {
        begin_trace();
        probe::plan_injections("");
        forget_lines();
    }
    void TearDown() override { probe::plan_injections(""); }

    void forget_lines() { begin_ = trace_text().size(); }

    // What was written since.
    std::vector<Entry> entries() const
    {
        const std::string text = trace_text().substr(begin_);
        std::vector<Entry> found;
        for (std::size_t at = 0, end = 0; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
            Entry entry;
            for (std::size_t field = at; field <= end;) {
                const std::size_t next = std::min(text.find('\t', field), end);
                entry.fields.push_back(text.substr(field, next - field));
                field = next + 1;
            }
            found.push_back(entry);
        }
        return found;
    }

    std::vector<Entry> of_kind(const std::string& kind, const std::string& name) const
    {
        std::vector<Entry> found;
        for (const Entry& entry : entries())
            if (entry.kind() == kind && entry.name() == name)
                found.push_back(entry);
        return found;
    }
    std::vector<Entry> calls(const std::string& name) const { return of_kind("call", name); }
    std::vector<Entry> notes(const std::string& word) const { return of_kind("note", word); }

    // The end of the last call of that name.
    Entry done(const std::string& name) const
    {
        const std::vector<Entry> begun = calls(name);
        for (const Entry& entry : entries())
            if (!begun.empty() && entry.kind() == "done" && entry.fields[1] == begun.back().fields[1])
                return entry;
        ADD_FAILURE() << "no call of " << name << " came to its end";
        return {{"done", "", "", "", "", ""}};
    }

    // The next call of the name as the plan wants it: counted from where the program's count stands.
    static void plan_for_next(const probe::Counter& counter, const std::string& action)
    {
        probe::plan_injections(counter.name + (" " + std::to_string(counter.calls + 1)) + " " + action);
    }

private:
    std::size_t begin_ = 0;
};

} // namespace units
