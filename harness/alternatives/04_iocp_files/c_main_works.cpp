// Stage 4 in plain C style: CreateThread, Interlocked counters, one way out by goto; main is one of the workers itself,
// and a single stop packet goes from each worker to the next.
//
// Why it is correct: whoever reports the last of all reads posts the stop, so no packet of a read is behind it. Who
// takes it posts it again and ends; the last one leaves it in the port, which is closed after all threads are joined.
// Nothing jumps to `cleanup` while a read is in flight. CreateThread knows nothing of the C runtime, so the threads do
// without it: their lines are put together by hand, and WriteFile writes each with one write.
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <shellapi.h>

#include <stdint.h>
#include <stdlib.h>

#define MOST_THREADS 256

struct file {
    HANDLE handle;
    ULONG_PTR key;
    LONG64 first; // the number of its first block, when all blocks of all files are counted through from 0
    LONG64 blocks;
};

struct read {
    OVERLAPPED overlapped;
    const struct file* file;
    LONG64 id;
    unsigned char* buffer;
};

struct line {
    char text[1024];
    DWORD length;
};

static HANDLE port;
static struct file* files;
static int file_count;
static uint64_t blocks = 2, block = 4096, depth = 32, threads = 2;
static LONG64 total;
static volatile LONG64 asked, left, bytes_read, reads_failed;
static volatile LONG exit_code;

static void put(struct line* line, const char* text)
{
    while (*text != 0 && line->length < sizeof line->text)
        line->text[line->length++] = *text++;
}

static void put_number(struct line* line, uint64_t number)
{
    char digits[21];
    char* at = digits + 20;
    for (*at = 0; number > 0 || *at == 0; number /= 10)
        *--at = (char)('0' + number % 10);
    put(line, at);
}

static void put_error(struct line* line, DWORD code)
{
    wchar_t wide[256];
    char text[768];
    int length =
        (int)FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK,
                            NULL, code, 0, wide, 256, NULL);
    length = WideCharToMultiByte(CP_UTF8, 0, wide, length, text, 767, NULL, NULL);
    text[length] = 0;
    put_number(line, code);
    put(line, " : ");
    put(line, length > 0 ? text : "unknown");
}

static void write_line(DWORD stream, struct line* line)
{
    DWORD written = 0;
    line->text[line->length < sizeof line->text ? line->length++ : sizeof line->text - 1] = '\n';
    WriteFile(GetStdHandle(stream), line->text, line->length, &written, NULL);
}

static void say(DWORD stream, const char* text)
{
    struct line line = {};
    put(&line, text);
    write_line(stream, &line);
}

static void report(const char* call, DWORD code)
{
    struct line line = {};
    put(&line, "error : ");
    put(&line, call);
    put(&line, " : ");
    put_error(&line, code);
    write_line(STD_ERROR_HANDLE, &line);
    InterlockedExchange(&exit_code, 1);
}

static void post_stop(void)
{
    if (PostQueuedCompletionStatus(port, 0, 0, NULL))
        return;
    report("PostQueuedCompletionStatus", GetLastError());
    if (!PostQueuedCompletionStatus(port, 0, 0, NULL)) {
        report("PostQueuedCompletionStatus", GetLastError());
        ExitProcess(1); // the others would wait for ever
    }
}

static void finish(const struct read* read, DWORD error, DWORD bytes)
{
    static const char digits[] = "0123456789abcdef";
    struct line line = {};
    DWORD i;
    put(&line, error == 0 ? "COMPLETE : " : "FAILED : ");
    put_number(&line, read->file->key);
    put(&line, ", ");
    put_number(&line, (uint64_t)read->id);
    put(&line, ", ");
    if (error == 0) {
        put_number(&line, bytes);
        put(&line, " :");
        for (i = 0; i < bytes && i < 8; ++i) {
            const char hex[] = {' ', digits[read->buffer[i] >> 4], digits[read->buffer[i] & 15], 0};
            put(&line, hex);
        }
        InterlockedExchangeAdd64(&bytes_read, bytes);
    } else {
        put_error(&line, error);
        InterlockedIncrement64(&reads_failed);
        InterlockedExchange(&exit_code, 1);
    }
    write_line(STD_OUTPUT_HANDLE, &line);
    if (InterlockedDecrement64(&left) == 0)
        post_stop();
}

static void start_next(struct read* read)
{
    for (;;) {
        const LONG64 number = InterlockedIncrement64(&asked) - 1;
        const struct file* file = files;
        uint64_t offset;
        DWORD error;
        if (number >= total)
            return;
        while (number >= file->first + file->blocks)
            ++file;
        offset = (uint64_t)(number - file->first) * block;
        ZeroMemory(&read->overlapped, sizeof read->overlapped);
        read->overlapped.Offset = (DWORD)(offset & 0xFFFFFFFF);
        read->overlapped.OffsetHigh = (DWORD)(offset >> 32);
        read->file = file;
        read->id = number + 1;
        if (ReadFile(file->handle, read->buffer, (DWORD)block, NULL, &read->overlapped))
            return; // done, and its packet is in the port
        error = GetLastError();
        if (error == ERROR_IO_PENDING)
            return;
        report("ReadFile", error);
        finish(read, error, 0);
    }
}

static DWORD WINAPI work(void* unused)
{
    int failures = 0;
    (void)unused;
    for (;;) {
        DWORD bytes = 0;
        ULONG_PTR key = 0;
        OVERLAPPED* overlapped = NULL;
        const BOOL good = GetQueuedCompletionStatus(port, &bytes, &key, &overlapped, INFINITE);
        const DWORD error = good ? 0 : GetLastError();
        if (overlapped != NULL) {
            struct read* read = CONTAINING_RECORD(overlapped, struct read, overlapped);
            finish(read, error, bytes);
            start_next(read);
            failures = 0;
        } else if (good) {
            post_stop();
            return 0;
        } else {
            report("GetQueuedCompletionStatus", error);
            if (++failures == 2)
                ExitProcess(1); // reads are in flight, and nobody can be told of their end
        }
    }
}

// 1 if text is a decimal number within the bounds.
static int read_number(const wchar_t* text, uint64_t least, uint64_t most, uint64_t* number)
{
    uint64_t value = 0;
    if (text == NULL || *text == 0)
        return 0;
    for (; *text != 0; ++text) {
        if (*text < L'0' || *text > L'9')
            return 0;
        value = value * 10 + (uint64_t)(*text - L'0');
        if (value > most)
            return 0;
    }
    *number = value;
    return value >= least;
}

// Leaves nothing but the paths in words, and says how many; -1: wrong usage. Behind the last word stands a null.
static int read_options(wchar_t** words, int count)
{
    int i, paths = 0;
    for (i = 1; i < count; ++i) {
        const wchar_t* word = words[i];
        if (word[0] != L'-' || word[1] != L'-')
            words[paths++] = words[i];
        else if ((lstrcmpW(word, L"--blocks") == 0 && read_number(words[i + 1], 0, 1ULL << 40, &blocks)) ||
                 (lstrcmpW(word, L"--block") == 0 && read_number(words[i + 1], 1, 0xFFFFFFFF, &block)) ||
                 (lstrcmpW(word, L"--depth") == 0 && read_number(words[i + 1], 1, 1 << 20, &depth)) ||
                 (lstrcmpW(word, L"--threads") == 0 && read_number(words[i + 1], 1, MOST_THREADS, &threads)))
            ++i;
        else
            return -1;
    }
    return blocks <= (uint64_t)INT64_MAX / block ? paths : -1; // an offset of 64 bits would be negative
}

// Puts a file on the port; one that cannot be read is reported and left out.
static void add_file(const wchar_t* path, ULONG_PTR key)
{
    LARGE_INTEGER size;
    struct file* file = &files[file_count];
    file->handle = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, NULL);
    if (file->handle == INVALID_HANDLE_VALUE) {
        report("CreateFile", GetLastError());
        return;
    }
    if (CreateIoCompletionPort(file->handle, port, key, 0) == NULL) {
        report("CreateIoCompletionPort", GetLastError());
        goto failed;
    }
    file->blocks = (LONG64)blocks;
    if (blocks == 0) {
        if (!GetFileSizeEx(file->handle, &size)) {
            report("GetFileSizeEx", GetLastError());
            goto failed;
        }
        file->blocks = (LONG64)(((uint64_t)size.QuadPart + block - 1) / block);
    }
    file->key = key;
    file->first = total;
    total += file->blocks;
    ++file_count;
    return;

failed:
    CloseHandle(file->handle);
}

static void join(HANDLE thread)
{
    if (WaitForSingleObject(thread, INFINITE) == WAIT_FAILED) {
        report("WaitForSingleObject", GetLastError());
        if (WaitForSingleObject(thread, INFINITE) == WAIT_FAILED) {
            report("WaitForSingleObject", GetLastError());
            ExitProcess(1); // it may still use what would be freed now
        }
    }
    CloseHandle(thread);
}

static void read_files(wchar_t** paths, int count)
{
    struct read* reads = NULL;
    unsigned char* buffers = NULL;
    HANDLE helpers[MOST_THREADS];
    size_t in_flight, at;
    int i, started = 0;
    struct line line = {};

    port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 0);
    if (port == NULL) {
        report("CreateIoCompletionPort", GetLastError());
        goto cleanup;
    }
    files = (struct file*)calloc((size_t)count, sizeof *files);
    if (files == NULL) {
        report("calloc", ERROR_NOT_ENOUGH_MEMORY);
        goto cleanup;
    }
    for (i = 0; i < count; ++i)
        add_file(paths[i], 100 * ((ULONG_PTR)i + 1));
    in_flight = (size_t)(depth < (uint64_t)total ? depth : (uint64_t)total);
    reads = (struct read*)calloc(in_flight, sizeof *reads);
    buffers = (unsigned char*)calloc(in_flight, (size_t)block);
    if (in_flight > 0 && (reads == NULL || buffers == NULL)) {
        report("calloc", ERROR_NOT_ENOUGH_MEMORY);
        goto cleanup;
    }
    for (; started < (int)threads - 1; ++started) {
        helpers[started] = CreateThread(NULL, 0, work, NULL, 0, NULL);
        if (helpers[started] == NULL) {
            report("CreateThread", GetLastError()); // fewer will do, since main works too
            break;
        }
    }
    left = total;
    if (total == 0)
        post_stop();
    for (at = 0; at < in_flight; ++at) {
        reads[at].buffer = buffers + at * (size_t)block;
        start_next(&reads[at]);
    }
    say(STD_OUTPUT_HANDLE, "Main Continue ..");
    work(NULL);
    for (i = 0; i < started; ++i)
        join(helpers[i]);
    put(&line, "done : ");
    put_number(&line, (uint64_t)total);
    put(&line, " reads, ");
    put_number(&line, (uint64_t)bytes_read);
    put(&line, " bytes, ");
    put_number(&line, (uint64_t)reads_failed);
    put(&line, " failed");
    write_line(STD_OUTPUT_HANDLE, &line);

cleanup:
    free(buffers);
    free(reads);
    for (i = 0; i < file_count; ++i)
        CloseHandle(files[i].handle);
    free(files);
    if (port != NULL)
        CloseHandle(port);
}

int main(void)
{
    int count = 0;
    wchar_t kernel32[MAX_PATH + 16], ntdll[MAX_PATH + 16];
    wchar_t* defaults[] = {kernel32, ntdll};
    wchar_t** words = CommandLineToArgvW(GetCommandLineW(), &count); // main's own argv has lost what is not ANSI
    if (words == NULL) {
        report("CommandLineToArgvW", GetLastError());
        return 1;
    }
    count = read_options(words, count);
    if (count < 0) {
        say(STD_ERROR_HANDLE, "usage : iocp_files [--blocks N] [--block BYTES] [--depth D] [--threads T] [PATH...]");
        exit_code = 2;
    } else if (count > 0) {
        read_files(words, count);
    } else {
        lstrcpyW(kernel32 + GetSystemDirectoryW(kernel32, MAX_PATH), L"\\kernel32.dll");
        lstrcpyW(ntdll + GetSystemDirectoryW(ntdll, MAX_PATH), L"\\ntdll.dll");
        read_files(defaults, 2);
    }
    LocalFree(words);
    return (int)exit_code;
}
