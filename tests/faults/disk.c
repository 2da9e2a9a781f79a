/* A disk that fails for files of one name, loaded before the C library (LD_PRELOAD).
 *
 * FAULT_PATH   what the path of a file must contain; empty or unset: no file fails
 * FAULT_AFTER  bytes that a process may write to such files before they fail
 * FAULT_ERRNO  28 (ENOSPC): writes fail; 30 (EROFS): such files cannot be opened for writing either
 *
 * Writers that ask the kernel without the C library (safetensors) are met by a limit to the size of files instead, which
 * begins when a file of that name is made: their writes fail with EFBIG.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static long long written = 0;
static char last_path[4096] = "";

static long long number(const char *name, long long usual) {
    const char *text = getenv(name);
    return text && *text ? atoll(text) : usual;
}

static int concerns(const char *path) {
    const char *wanted = getenv("FAULT_PATH");
    return wanted && *wanted && strstr(path, wanted) != NULL;
}

/* How many of `asked` bytes may still be written to a file; -1 where it does not concern us. */
static long long room(int fd, size_t asked) {
    char link[64], path[4096];
    const char *wanted = getenv("FAULT_PATH");
    if (!wanted || !*wanted) return -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return -1;
    path[length] = 0;
    if (!concerns(path)) return -1;
    if (strcmp(wanted, last_path)) { /* another name: another fault */
        snprintf(last_path, sizeof last_path, "%s", wanted);
        written = 0;
    }
    long long left = number("FAULT_AFTER", 0) - written;
    if (left < 0) left = 0;
    if ((size_t)left > asked) left = (long long)asked;
    written += left;
    return left;
}

static ssize_t refuse(void) {
    errno = (int)number("FAULT_ERRNO", ENOSPC);
    return -1;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    long long left = room(fd, count);
    if (left == 0 && count) return refuse();
    return real(fd, bytes, left < 0 ? count : (size_t)left);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    static ssize_t (*real)(int, const struct iovec *, int);
    if (!real) real = dlsym(RTLD_NEXT, "writev");
    size_t asked = 0;
    for (int part = 0; part < count; part++) asked += parts[part].iov_len;
    long long left = room(fd, asked);
    if (left == 0 && asked) return refuse();
    return left < 0 || (size_t)left == asked ? real(fd, parts, count) : write(fd, parts[0].iov_base, parts[0].iov_len);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite");
    long long left = room(fd, count);
    if (left == 0 && count) return refuse();
    return real(fd, bytes, left < 0 ? count : (size_t)left, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) { return pwrite(fd, bytes, count, offset); }

static int forbidden(const char *path, int flags) {
    return (flags & (O_WRONLY | O_RDWR | O_CREAT)) && number("FAULT_ERRNO", ENOSPC) == EROFS && concerns(path);
}

/* Limit the size of files from now on if this one is concerned and about to be filled past us; lift the limit after. */
static void limit(const char *path, int flags) {
    struct rlimit size;
    const char *wanted = getenv("FAULT_PATH");
    if (getrlimit(RLIMIT_FSIZE, &size)) return;
    if (!wanted || !*wanted)
        size.rlim_cur = size.rlim_max;
    else if ((flags & O_CREAT) && concerns(path) && strstr(path, ".safetensors"))
        size.rlim_cur = (rlim_t)number("FAULT_AFTER", 0);
    else
        return;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &size);
}

#define OPEN(name)                                                  \
    int name(const char *path, int flags, ...) {                    \
        static int (*real)(const char *, int, ...);                 \
        if (!real) real = dlsym(RTLD_NEXT, #name);                  \
        va_list rest;                                               \
        va_start(rest, flags);                                      \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;   \
        va_end(rest);                                               \
        if (forbidden(path, flags)) return (int)refuse();           \
        limit(path, flags);                                         \
        return real(path, flags, mode);                             \
    }

#define OPENAT(name)                                                      \
    int name(int folder, const char *path, int flags, ...) {              \
        static int (*real)(int, const char *, int, ...);                  \
        if (!real) real = dlsym(RTLD_NEXT, #name);                        \
        va_list rest;                                                     \
        va_start(rest, flags);                                            \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;         \
        va_end(rest);                                                     \
        if (forbidden(path, flags)) return (int)refuse();                 \
        limit(path, flags);                                               \
        return real(folder, path, flags, mode);                           \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
