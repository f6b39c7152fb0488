/* Preloaded into a program (LD_PRELOAD), this writes down, in their order, what the program does to the files below one
 * directory and what it says, and lets its clock be wrong. `recording.rs` reads what it writes; the layout of a
 * record is in both.
 *
 * Three variables switch it on: TRIALS_ROOT names the directory and TRIALS_LOG the file to write to; TRIALS_CLOCK a
 * file with two numbers of eight bytes, which may change at any time: by how many milliseconds the clock is ahead, and
 * how many more have passed since the system started.
 *
 * Only what the programs call is here. What is missing shows: the files at the end are not what was written down. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* The function that this library stands in front of. */
#define REAL(name)                                                                                                     \
    ({                                                                                                                 \
        static __typeof__(&name) real;                                                                                 \
        if (!real)                                                                                                     \
            real = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                                                         \
        real;                                                                                                          \
    })

enum kind { OPEN = 1, WRITE, TRUNCATE, SYNC, RENAME, LINK, UNLINK, MKDIR, RMDIR, CLOSE, SAY, SEND, MAP, NAME };

struct record {
    uint32_t kind;
    uint32_t process;
    int32_t fd;
    int32_t flags;
    int64_t offset;
    /* The lengths of what follows. */
    uint32_t first;
    uint32_t second;
};

/* More descriptors than the programs use under these trials. */
enum { MAX_FDS = 4096, LOG_FD_FROM = 900 };

static const char *root;
static size_t root_length;
static int log_fd = -1;
/* Of the time of day, and of the time that only passes. */
static volatile int64_t *clock_ahead_ms;
static char is_inside_root[MAX_FDS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void start(void) {
    const char *log = getenv("TRIALS_LOG"), *clock = getenv("TRIALS_CLOCK");
    root = getenv("TRIALS_ROOT");
    if (root && log) {
        root_length = strlen(root);
        int fd = REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        /* Out of the way of the program's own numbers. */
        log_fd = fcntl(fd, F_DUPFD_CLOEXEC, LOG_FD_FROM);
        if (log_fd < 0)
            abort();
        REAL(close)(fd);
    }
    if (clock) {
        int fd = REAL(open)(clock, O_RDONLY | O_CLOEXEC);
        void *map = REAL(mmap)(NULL, 2 * sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
        if (fd < 0 || map == MAP_FAILED)
            abort();
        clock_ahead_ms = map;
        REAL(close)(fd);
    }
}

static int is_inside(const char *path) {
    return log_fd >= 0 && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int is_tracked(int fd) {
    return log_fd >= 0 && fd >= 0 && fd < MAX_FDS && is_inside_root[fd];
}

/* What is done and what is written down of it happen at one moment, for all threads and all processes. */
static void lock(void) {
    pthread_mutex_lock(&mutex);
    flock(log_fd, LOCK_EX);
}

static void unlock(void) {
    int error = errno;
    flock(log_fd, LOCK_UN);
    pthread_mutex_unlock(&mutex);
    errno = error;
}

static void note(enum kind kind, int fd, int flags, int64_t offset, const void *first, size_t first_length,
                 const void *second, size_t second_length) {
    int error = errno;
    struct record record = {kind, (uint32_t)getpid(), fd, flags, offset, (uint32_t)first_length,
                            (uint32_t)second_length};
    struct iovec parts[] = {{&record, sizeof record}, {(void *)first, first_length}, {(void *)second, second_length}};
    ssize_t length = (ssize_t)(sizeof record + first_length + second_length);
    if (REAL(writev)(log_fd, parts, 3) != length)
        abort();
    errno = error;
}

static void note_paths(enum kind kind, const char *first, const char *second) {
    note(kind, -1, 0, 0, first, strlen(first), second, second ? strlen(second) : 0);
}

/* Defines a function that opens; it takes a mode where it may create a file. */
#define DEFINE_OPEN(name)                                                                                              \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                                        \
        va_end(more);                                                                                                  \
        if (!is_inside(path))                                                                                          \
            return REAL(name)(path, flags, mode);                                                                      \
        lock();                                                                                                        \
        int fd = REAL(name)(path, flags, mode);                                                                        \
        if (fd >= MAX_FDS)                                                                                             \
            abort();                                                                                                   \
        if (fd >= 0) {                                                                                                 \
            is_inside_root[fd] = 1;                                                                                    \
            /* The number of a flag is the system's own. */                                                            \
            int noted = (flags & O_CREAT ? 1 : 0) | (flags & O_TRUNC ? 2 : 0) |                                        \
                        (flags & (O_DSYNC | O_SYNC) ? 4 : 0) | ((flags & O_TMPFILE) == O_TMPFILE ? 8 : 0);             \
            note(OPEN, fd, noted, 0, path, strlen(path), NULL, 0);                                                     \
        }                                                                                                              \
        unlock();                                                                                                      \
        return fd;                                                                                                     \
    }

DEFINE_OPEN(open)
DEFINE_OPEN(open64)

int close(int fd) {
    if (!is_tracked(fd))
        return REAL(close)(fd);
    lock();
    is_inside_root[fd] = 0;
    note(CLOSE, fd, 0, 0, NULL, 0, NULL, 0);
    int result = REAL(close)(fd);
    unlock();
    return result;
}

static ssize_t note_written(int fd, int64_t offset, const void *bytes, ssize_t written) {
    if (written > 0)
        note(is_tracked(fd) ? WRITE : SAY, fd, 0, offset, bytes, (size_t)written, NULL, 0);
    return written;
}

static int is_noted(int fd) {
    return is_tracked(fd) || (log_fd >= 0 && (fd == 1 || fd == 2));
}

ssize_t write(int fd, const void *bytes, size_t length) {
    if (!is_noted(fd))
        return REAL(write)(fd, bytes, length);
    lock();
    int64_t offset = is_tracked(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t written = note_written(fd, offset, bytes, REAL(write)(fd, bytes, length));
    unlock();
    return written;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!is_noted(fd))
        return REAL(writev)(fd, parts, count);
    size_t length = 0, at = 0;
    for (int i = 0; i < count; i++)
        length += parts[i].iov_len;
    char *bytes = malloc(length + 1);
    if (!bytes)
        abort();
    for (int i = 0; i < count; at += parts[i++].iov_len)
        memcpy(bytes + at, parts[i].iov_base, parts[i].iov_len);
    lock();
    int64_t offset = is_tracked(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t written = note_written(fd, offset, bytes, REAL(writev)(fd, parts, count));
    unlock();
    free(bytes);
    return written;
}

#define DEFINE_PWRITE(name, offset_type)                                                                               \
    ssize_t name(int fd, const void *bytes, size_t length, offset_type offset) {                                       \
        if (!is_tracked(fd))                                                                                           \
            return REAL(name)(fd, bytes, length, offset);                                                              \
        lock();                                                                                                        \
        ssize_t written = note_written(fd, offset, bytes, REAL(name)(fd, bytes, length, offset));                      \
        unlock();                                                                                                      \
        return written;                                                                                                \
    }

DEFINE_PWRITE(pwrite, off_t)
DEFINE_PWRITE(pwrite64, off64_t)

/* Defines what is done to an open file and either succeeds or not. */
#define DEFINE_ON_FD(name, kind, parameters, arguments, offset)                                                        \
    int name parameters {                                                                                              \
        if (!is_tracked(fd))                                                                                           \
            return REAL(name) arguments;                                                                               \
        lock();                                                                                                        \
        int result = REAL(name) arguments;                                                                             \
        if (!result)                                                                                                   \
            note(kind, fd, 0, offset, NULL, 0, NULL, 0);                                                               \
        unlock();                                                                                                      \
        return result;                                                                                                 \
    }

DEFINE_ON_FD(ftruncate, TRUNCATE, (int fd, off_t length), (fd, length), length)
DEFINE_ON_FD(ftruncate64, TRUNCATE, (int fd, off64_t length), (fd, length), length)
DEFINE_ON_FD(fsync, SYNC, (int fd), (fd), 0)
DEFINE_ON_FD(fdatasync, SYNC, (int fd), (fd), 0)

/* Defines what is done to names and either succeeds or not. */
#define DEFINE_ON_PATH(name, kind, parameters, arguments, second)                                                      \
    int name parameters {                                                                                              \
        if (!is_inside(path))                                                                                          \
            return REAL(name) arguments;                                                                               \
        lock();                                                                                                        \
        int result = REAL(name) arguments;                                                                             \
        if (!result)                                                                                                   \
            note_paths(kind, path, second);                                                                            \
        unlock();                                                                                                      \
        return result;                                                                                                 \
    }

DEFINE_ON_PATH(rename, RENAME, (const char *path, const char *to), (path, to), to)
DEFINE_ON_PATH(link, LINK, (const char *path, const char *to), (path, to), to)
DEFINE_ON_PATH(unlink, UNLINK, (const char *path), (path), NULL)
DEFINE_ON_PATH(mkdir, MKDIR, (const char *path, mode_t mode), (path, mode), NULL)
DEFINE_ON_PATH(rmdir, RMDIR, (const char *path), (path), NULL)

/* The open file that a path names, or -1. */
static int fd_at(const char *path) {
    static const char own[] = "/proc/self/fd/";
    return strncmp(path, own, sizeof own - 1) ? -1 : atoi(path + sizeof own - 1);
}

/* An open file gets a name, perhaps its first. */
int linkat(int from_fd, const char *path, int to_fd, const char *to, int flags) {
    int fd = (flags & AT_EMPTY_PATH) && !*path ? from_fd : fd_at(path);
    if (!is_tracked(fd) && !is_inside(path))
        return REAL(linkat)(from_fd, path, to_fd, to, flags);
    lock();
    int result = REAL(linkat)(from_fd, path, to_fd, to, flags);
    if (!result && is_tracked(fd))
        note(NAME, fd, 0, 0, to, strlen(to), NULL, 0);
    else if (!result)
        note_paths(LINK, path, to);
    unlock();
    return result;
}

/* What is written through a shared map is not seen here; that there is one is noted. */
#define DEFINE_MMAP(name, offset_type)                                                                                 \
    void *name(void *at, size_t length, int protection, int flags, int fd, offset_type offset) {                       \
        if (is_tracked(fd) && (protection & PROT_WRITE) && (flags & MAP_SHARED)) {                                     \
            lock();                                                                                                    \
            note(MAP, fd, 0, 0, NULL, 0, NULL, 0);                                                                     \
            unlock();                                                                                                  \
        }                                                                                                              \
        return REAL(name)(at, length, protection, flags, fd, offset);                                                  \
    }

DEFINE_MMAP(mmap, off_t)
DEFINE_MMAP(mmap64, off64_t)

ssize_t sendto(int fd, const void *bytes, size_t length, int flags, const struct sockaddr *to, socklen_t to_length) {
    if (log_fd < 0)
        return REAL(sendto)(fd, bytes, length, flags, to, to_length);
    lock();
    ssize_t sent = REAL(sendto)(fd, bytes, length, flags, to, to_length);
    if (sent > 0)
        note(SEND, fd, 0, 0, bytes, (size_t)sent, NULL, 0);
    unlock();
    return sent;
}

ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    return sendto(fd, bytes, length, flags, NULL, 0);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = REAL(clock_gettime)(clock, time);
    int is_of_day = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    if (clock_ahead_ms && !result && (is_of_day || clock == CLOCK_MONOTONIC)) {
        int64_t ms = (int64_t)time->tv_sec * 1000 + time->tv_nsec / 1000000 + clock_ahead_ms[!is_of_day];
        ms = ms > 0 ? ms : 0;
        time->tv_sec = ms / 1000;
        time->tv_nsec = ms % 1000 * 1000000 + time->tv_nsec % 1000000;
    }
    return result;
}

/* Rust's threads wait until a moment of the clock that only passes, by a call that has no function of its own: the
 * system is told of that moment by its own clock. Whoever waits already goes on to do so. */
long syscall(long number, ...) {
    va_list list;
    long a[6];
    /* As the C library does, however many there are. */
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    struct timespec until;
    if (clock_ahead_ms && number == SYS_futex && a[3] && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET &&
        !(a[1] & FUTEX_CLOCK_REALTIME)) {
        until = *(const struct timespec *)a[3];
        int64_t ms = (int64_t)until.tv_sec * 1000 + until.tv_nsec / 1000000 - clock_ahead_ms[1];
        ms = ms > 0 ? ms : 0;
        until.tv_sec = ms / 1000;
        until.tv_nsec = ms % 1000 * 1000000 + until.tv_nsec % 1000000;
        a[3] = (long)&until;
    }
    return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
