// Stage 4's problem in plain C style: requests and buffers in the frame of the function that asks and waits, stdio,
// error codes, one way out by goto. One wait for all events that belong to a read.
//
// Why it is correct: everything a read needs is made before the first is asked for, and from there on no way leads to
// `cleanup`, or out of the frame, but through GetOverlappedResult with wait for each read that was accepted: also if
// the wait for all of them has failed. Every line is flushed, because stdout is a pipe when it is graded.
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <shellapi.h>

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#define BLOCK 4096
#define READS 4

struct request {
    OVERLAPPED overlapped;
    HANDLE file;
    BOOL accepted;
    unsigned char buffer[BLOCK];
};

static int exit_code = 0;
static uint64_t total = 0;
static int failures = 0;

static void say(const char* format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    fflush(stdout);
}

// What the system says about the code, in UTF-8; good until the next call.
static const char* text_of(DWORD code)
{
    static char text[1536];
    wchar_t wide[512];
    DWORD length =
        FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, code, 0, wide, 511, NULL);
    while (length > 0 && wide[length - 1] <= L' ')
        --length;
    wide[length] = 0;
    if (length == 0 || WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, sizeof text, NULL, NULL) == 0)
        return "unknown";
    return text;
}

static void report(const char* call, DWORD code)
{
    fprintf(stderr, "error : %s : %lu : %s\n", call, code, text_of(code));
    exit_code = 1;
}

static void completed(int id, const struct request* request, DWORD bytes)
{
    char data[3 * 8 + 1] = "";
    DWORD i;
    for (i = 0; i < bytes && i < 8; ++i)
        snprintf(data + 3 * i, 4, " %02x", request->buffer[i]);
    say("COMPLETE : %d, %lu :%s\n", id, bytes, data);
    total += bytes;
}

static void failed(int id, DWORD error)
{
    say("FAILED : %d, %lu : %s\n", id, error, text_of(error));
    ++failures;
    exit_code = 1;
}

static HANDLE open_file(const wchar_t* path)
{
    const HANDLE file =
        CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, NULL);
    if (file == INVALID_HANDLE_VALUE)
        report("CreateFile", GetLastError());
    return file;
}

// Asks for 4096 bytes at an offset of 64 bits. 0: accepted, be it done already or pending; else why it was refused.
static DWORD read_4k_async(struct request* request, uint64_t offset)
{
    request->overlapped.Offset = (DWORD)(offset & 0xFFFFFFFF);
    request->overlapped.OffsetHigh = (DWORD)(offset >> 32);
    if (ReadFile(request->file, request->buffer, BLOCK, NULL, &request->overlapped))
        return 0;
    return GetLastError() == ERROR_IO_PENDING ? 0 : GetLastError();
}

static void read_four_blocks(const wchar_t* path1, const wchar_t* path2)
{
    struct request requests[READS];
    HANDLE files[2] = {INVALID_HANDLE_VALUE, INVALID_HANDLE_VALUE};
    HANDLE waited_for[READS];
    DWORD count = 0, bytes = 0, error = 0;
    int i;

    ZeroMemory(requests, sizeof requests);
    files[0] = open_file(path1);
    if (files[0] == INVALID_HANDLE_VALUE)
        goto cleanup;
    files[1] = open_file(path2);
    if (files[1] == INVALID_HANDLE_VALUE)
        goto cleanup;
    for (i = 0; i < READS; ++i) {
        requests[i].file = files[i / 2];
        requests[i].overlapped.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
        if (requests[i].overlapped.hEvent == NULL) {
            report("CreateEvent", GetLastError());
            goto cleanup;
        }
    }

    for (i = 0; i < READS; ++i) {
        error = read_4k_async(&requests[i], (uint64_t)(i % 2) * BLOCK);
        requests[i].accepted = error == 0;
        if (error == 0) {
            waited_for[count++] = requests[i].overlapped.hEvent;
        } else {
            report("ReadFile", error);
            failed(i + 1, error);
        }
    }
    say("Main Continue ..\n");

    if (count > 0 && WaitForMultipleObjects(count, waited_for, TRUE, INFINITE) == WAIT_FAILED)
        report("WaitForMultipleObjects", GetLastError());
    for (i = 0; i < READS; ++i) {
        if (!requests[i].accepted)
            continue;
        if (GetOverlappedResult(requests[i].file, &requests[i].overlapped, &bytes, TRUE))
            completed(i + 1, &requests[i], bytes);
        else
            failed(i + 1, GetLastError());
    }
    say("done : %d reads, %llu bytes, %d failed\n", READS, (unsigned long long)total, failures);

cleanup:
    for (i = 0; i < READS; ++i)
        if (requests[i].overlapped.hEvent != NULL)
            CloseHandle(requests[i].overlapped.hEvent);
    for (i = 0; i < 2; ++i)
        if (files[i] != INVALID_HANDLE_VALUE)
            CloseHandle(files[i]);
}

int main(void)
{
    int count = 0;
    wchar_t kernel32[MAX_PATH + 16], ntdll[MAX_PATH + 16];
    wchar_t** words = CommandLineToArgvW(GetCommandLineW(), &count); // main's own argv has lost what is not ANSI

    if (words == NULL) {
        report("CommandLineToArgvW", GetLastError());
        return exit_code;
    }
    if (count == 3) {
        read_four_blocks(words[1], words[2]);
    } else if (count == 1) {
        lstrcpyW(kernel32 + GetSystemDirectoryW(kernel32, MAX_PATH), L"\\kernel32.dll");
        lstrcpyW(ntdll + GetSystemDirectoryW(ntdll, MAX_PATH), L"\\ntdll.dll");
        read_four_blocks(kernel32, ntdll);
    } else {
        fprintf(stderr, "usage : four_reads [PATH1 PATH2]\n");
        exit_code = 2;
    }
    LocalFree(words);
    return exit_code;
}
