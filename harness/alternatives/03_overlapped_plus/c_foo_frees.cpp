// Stage 3 in plain C style: one HeapAlloc block holds event, OVERLAPPED and buffer, foo frees it, goto leads to cleanup.
//
// The OVERLAPPED stands in the middle of the context, and foo, who is given nothing else, gets from there to its
// beginning by CONTAINING_RECORD, which subtracts the member's offset. Lines go out by WriteFile, unbuffered.
//
// Why it is correct: a context has one owner at a time. It is main's until _beginthreadex has succeeded, foo's from then
// on: main sets its pointer to NULL there and goes on with its own copies of the file and the thread. Whoever owns it
// frees it only after GetOverlappedResult with wait has returned, or if ReadFile has refused it.
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <process.h>

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#define BLOCK 4096

typedef struct CONTEXT_OF_READ {
    HANDLE file; // borrowed: main closes it
    DWORD timeout_ms;
    OVERLAPPED request;
    unsigned char block[BLOCK];
} CONTEXT_OF_READ;

static volatile LONG exit_code = 0; // foo and main both set it

// One write for each call, so nothing waits in a buffer.
static void say(DWORD stream, const char* format, ...)
{
    char text[1024];
    DWORD written = 0;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof text)
        length = (int)sizeof text - 1;
    if (length > 0)
        WriteFile(GetStdHandle(stream), text, (DWORD)length, &written, NULL);
}

static void report(const char* call, DWORD code)
{
    wchar_t wide[256];
    char text[768] = "unknown";
    const DWORD flags = FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK;
    if (FormatMessageW(flags, NULL, code, 0, wide, 256, NULL) > 0)
        WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, sizeof text, NULL, NULL);
    say(STD_ERROR_HANDLE, "error : %s : %lu : %s\n", call, code, text);
    InterlockedExchange(&exit_code, 1);
}

// NULL if it could not be made, which is reported.
static CONTEXT_OF_READ* make_context(HANDLE file, uint64_t offset, DWORD timeout_ms)
{
    CONTEXT_OF_READ* context = (CONTEXT_OF_READ*)HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof *context);
    if (context == NULL) {
        report("HeapAlloc", ERROR_NOT_ENOUGH_MEMORY); // HeapAlloc sets no last error
        return NULL;
    }
    context->file = file;
    context->timeout_ms = timeout_ms;
    context->request.Offset = (DWORD)(offset & 0xFFFFFFFF);
    context->request.OffsetHigh = (DWORD)(offset >> 32);
    context->request.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (context->request.hEvent == NULL) {
        report("CreateEvent", GetLastError());
        HeapFree(GetProcessHeap(), 0, context);
        return NULL;
    }
    return context;
}

static void free_context(CONTEXT_OF_READ* context)
{
    CloseHandle(context->request.hEvent);
    HeapFree(GetProcessHeap(), 0, context);
}

// Cancelling only asks: the completion still has to be seen.
static void cancel(CONTEXT_OF_READ* context)
{
    int attempt = 0;
    for (attempt = 0; attempt < 2 && !CancelIoEx(context->file, &context->request); ++attempt) {
        const DWORD error = GetLastError();
        if (error == ERROR_NOT_FOUND) // it has completed meanwhile
            return;
        report("CancelIoEx", error);
    }
}

// Returns the read's Win32 code once its completion was seen.
static DWORD see_completion(CONTEXT_OF_READ* context, DWORD* bytes)
{
    DWORD error = ERROR_SUCCESS;
    if (!GetOverlappedResult(context->file, &context->request, bytes, TRUE)) {
        error = GetLastError();
        *bytes = 0;
        report("ReadFile", error);
    }
    return error;
}

static unsigned __stdcall foo(void* argument)
{
    CONTEXT_OF_READ* context = CONTAINING_RECORD((OVERLAPPED*)argument, CONTEXT_OF_READ, request);
    DWORD bytes = 0;
    DWORD error = 0;
    DWORD i = 0;
    char data[8 * 3 + 1] = "";

    const DWORD waited = WaitForSingleObject(context->request.hEvent, context->timeout_ms);
    if (waited == WAIT_FAILED)
        report("WaitForSingleObject", GetLastError());
    if (waited != WAIT_OBJECT_0)
        cancel(context);
    error = see_completion(context, &bytes);

    say(STD_OUTPUT_HANDLE, "foo : I/O Complete\nerror : %lu\nbytes : %lu\n", error, bytes);
    for (i = 0; i < bytes && i < 8; ++i)
        snprintf(data + i * 3, sizeof data - i * 3, " %02x", context->block[i]);
    if (bytes > 0)
        say(STD_OUTPUT_HANDLE, "data :%s\n", data);
    free_context(context);
    return 0;
}

// 1 once foo has ended; 0 if that cannot be found out.
static int join(HANDLE thread)
{
    int attempt = 0;
    for (attempt = 0; attempt < 2; ++attempt) {
        if (WaitForSingleObject(thread, INFINITE) == WAIT_OBJECT_0)
            return 1;
        report("WaitForSingleObject", GetLastError());
    }
    return 0;
}

static void read_block(const wchar_t* path, uint64_t offset, DWORD timeout_ms)
{
    CONTEXT_OF_READ* context = NULL;
    HANDLE thread = NULL;
    DWORD error = 0;
    DWORD bytes = 0;

    HANDLE file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, NULL);
    if (file == INVALID_HANDLE_VALUE) {
        report("CreateFile", GetLastError());
        goto cleanup;
    }
    context = make_context(file, offset, timeout_ms);
    if (context == NULL)
        goto cleanup;

    // What is printed is decided before there is a foo. From here to the end of foo the kernel may own the context.
    if (ReadFile(file, context->block, BLOCK, NULL, &context->request)) {
        say(STD_OUTPUT_HANDLE, "main : completed at once\n");
    } else {
        error = GetLastError();
        if (error != ERROR_IO_PENDING) {
            report("ReadFile", error);
            goto cleanup;
        }
        say(STD_OUTPUT_HANDLE, "main : pending\n");
    }

    thread = (HANDLE)_beginthreadex(NULL, 0, foo, &context->request, 0, NULL);
    if (thread == NULL) {
        report("_beginthreadex", GetLastError());
        cancel(context);
        see_completion(context, &bytes);
        goto cleanup;
    }
    context = NULL; // foo's, and perhaps freed already
    say(STD_OUTPUT_HANDLE, "Main Continue ..\n");
    if (!join(thread))
        file = INVALID_HANDLE_VALUE; // foo may still use it: the end of the process closes it

cleanup:
    if (context != NULL)
        free_context(context);
    if (thread != NULL)
        CloseHandle(thread);
    if (file != INVALID_HANDLE_VALUE)
        CloseHandle(file);
}

// 1 if text is a decimal number of at most `most`.
static int parse_number(const wchar_t* text, uint64_t most, uint64_t* number)
{
    *number = 0;
    if (*text == 0)
        return 0;
    for (; *text != 0; ++text) {
        if (*text < L'0' || *text > L'9')
            return 0;
        const uint64_t digit = (uint64_t)(*text - L'0');
        if (*number > (most - digit) / 10)
            return 0;
        *number = *number * 10 + digit;
    }
    return 1;
}

int wmain(int count, wchar_t** words)
{
    uint64_t offset = 0;
    uint64_t timeout_ms = 10000;
    wchar_t path[MAX_PATH + 16];

    if (count > 4 || (count > 2 && !parse_number(words[2], UINT64_MAX, &offset)) ||
        (count > 3 && !parse_number(words[3], UINT32_MAX, &timeout_ms))) {
        say(STD_ERROR_HANDLE, "usage : overlapped_plus [PATH [OFFSET [TIMEOUT_MS]]]\n");
        return 2;
    }
    if (count > 1) {
        read_block(words[1], offset, (DWORD)timeout_ms);
    } else {
        const UINT length = GetSystemDirectoryW(path, MAX_PATH);
        lstrcpyW(path + length, L"\\kernel32.dll");
        read_block(path, offset, (DWORD)timeout_ms);
    }
    return (int)exit_code;
}
