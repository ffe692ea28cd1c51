#include "blocks.hpp"
#include "requests.hpp"

namespace probe {

void tell_submit(Facts& facts, const Submit& submit) noexcept
{
    facts.value("ov", as_number(submit.request));
    Line& line = facts.line();
    tell_where(line.field().text("ov_in="), submit.request);
    facts.value("buf", as_number(submit.buffer));
    tell_where(line.field().text("buf_in="), submit.buffer);
    facts.value("len", submit.bytes);
    facts.value("off", std::uint64_t{submit.request->OffsetHigh} << 32U | submit.request->Offset);
    facts.value("event", as_number(submit.request->hEvent)).value("internal", submit.request->Internal);
}

} // namespace probe
