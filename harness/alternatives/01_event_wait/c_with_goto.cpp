// Stage 1 in plain C style: main, malloc and free, stdio, error codes, one way out by goto.
//
// Why it is correct: everything is released at `cleanup`, whichever call failed, and nothing jumps there while a read is
// in flight: once ReadFile has accepted it, the only way on leads through GetOverlappedResult with wait. Every line is
// flushed, because stdout is a pipe when it is graded.
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <shellapi.h>

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK 4096

static int exit_code = 0;

static void say(const char* format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    fflush(stdout);
}

static void report(const char* call, DWORD code)
{
    wchar_t wide[512];
    char text[1536] = "";
    DWORD length =
        FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, code, 0, wide, 511, NULL);
    while (length > 0 && wide[length - 1] <= L' ')
        --length;
    wide[length] = 0;
    WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, sizeof text, NULL, NULL);
    fprintf(stderr, "error : %s : %lu : %s\n", call, code, length > 0 ? text : "unknown");
    exit_code = 1;
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

static void cancel(HANDLE file, OVERLAPPED* request)
{
    int attempt;
    for (attempt = 0; attempt < 2 && !CancelIoEx(file, request); ++attempt) {
        const DWORD error = GetLastError();
        if (error == ERROR_NOT_FOUND) // it has completed meanwhile
            return;
        report("CancelIoEx", error);
    }
}

static void read_block(const wchar_t* path, uint64_t offset, DWORD timeout_ms)
{
    HANDLE file = INVALID_HANDLE_VALUE;
    HANDLE event = NULL;
    unsigned char* buffer = NULL;
    OVERLAPPED request;
    DWORD waited = 0, bytes = 0, error = 0, i = 0;

    ZeroMemory(&request, sizeof request);
    file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, NULL);
    if (file == INVALID_HANDLE_VALUE) {
        report("CreateFile", GetLastError());
        goto cleanup;
    }
    event = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (event == NULL) {
        report("CreateEvent", GetLastError());
        goto cleanup;
    }
    buffer = (unsigned char*)malloc(BLOCK);
    if (buffer == NULL) {
        report("malloc", ERROR_NOT_ENOUGH_MEMORY);
        goto cleanup;
    }
    request.hEvent = event;
    request.Offset = (DWORD)(offset & 0xFFFFFFFF);
    request.OffsetHigh = (DWORD)(offset >> 32);

    if (ReadFile(file, buffer, BLOCK, NULL, &request)) {
        say("main : completed at once\n");
    } else {
        error = GetLastError();
        if (error != ERROR_IO_PENDING) {
            report("ReadFile", error);
            goto cleanup;
        }
        error = 0;
        say("main : pending\n");
    }

    waited = WaitForSingleObject(event, timeout_ms);
    if (waited == WAIT_FAILED)
        report("WaitForSingleObject", GetLastError());
    if (waited != WAIT_OBJECT_0)
        cancel(file, &request);
    if (!GetOverlappedResult(file, &request, &bytes, TRUE)) {
        error = GetLastError();
        bytes = 0;
        report("GetOverlappedResult", error);
    }

    say("main : I/O Complete\nerror : %lu\nbytes : %lu\n", error, bytes);
    if (bytes > 0) {
        printf("data :");
        for (i = 0; i < bytes && i < 8; ++i)
            printf(" %02x", buffer[i]);
        say("\n");
    }

cleanup:
    free(buffer);
    if (event != NULL)
        CloseHandle(event);
    if (file != INVALID_HANDLE_VALUE)
        CloseHandle(file);
}

int main(void)
{
    int count = 0;
    uint64_t offset = 0, timeout_ms = 10000;
    wchar_t path[MAX_PATH + 16];
    wchar_t** words = CommandLineToArgvW(GetCommandLineW(), &count); // main's own argv has lost what is not ANSI

    if (words == NULL) {
        report("CommandLineToArgvW", GetLastError());
        return exit_code;
    }
    if (count > 4 || (count > 2 && !parse_number(words[2], UINT64_MAX, &offset)) ||
        (count > 3 && !parse_number(words[3], UINT32_MAX, &timeout_ms))) {
        fprintf(stderr, "usage : event_wait [PATH [OFFSET [TIMEOUT_MS]]]\n");
        exit_code = 2;
    } else if (count > 1) {
        read_block(words[1], offset, (DWORD)timeout_ms);
    } else {
        const UINT length = GetSystemDirectoryW(path, MAX_PATH);
        lstrcpyW(path + length, L"\\kernel32.dll");
        read_block(path, offset, (DWORD)timeout_ms);
    }
    LocalFree(words);
    return exit_code;
}
