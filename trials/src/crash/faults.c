/* Preloaded into a program (LD_PRELOAD), this lets calls that change the files below one directory fail. `faults.rs`
 * chooses which, and reads how many there were; the layout of `struct plan` is in both.
 *
 * Two variables switch it on: FAULTS_ROOT names the directory, FAULTS_PLAN a file with the plan, which is mapped.
 *
 * A call that fails changes nothing, but for a write to a file that was opened to be synchronous: that reaches the
 * system's cache and fails after it, as on a disk. Only what the programs call is here. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* The function that this library stands in front of. */
#define REAL(name)                                                                                                     \
    ({                                                                                                                 \
        static __typeof__(&name) real;                                                                                 \
        if (!real)                                                                                                     \
            real = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                                                         \
        real;                                                                                                          \
    })

enum kind { WRITE = 1, SYNC, LENGTHEN, CREATE, NAME, REMOVE, NAMELESS };

struct plan {
    /* The first call to fail, counted from 1; 0: none. */
    uint64_t first;
    /* How many fail, from that one on. */
    uint64_t count;
    /* What they fail with. */
    int32_t error;
    /* Of which kind the first was that failed; 0: none has. */
    int32_t failed;
    /* How many calls there were. */
    uint64_t calls;
};

/* More descriptors than the programs use under these trials. */
enum { MAX_FDS = 4096 };

static const char *root;
static size_t root_length;
static struct plan *plan;
/* 1: below the directory; 2: opened to be synchronous, too. */
static char is_inside_root[MAX_FDS];

__attribute__((constructor)) static void start(void) {
    const char *file = getenv("FAULTS_PLAN");
    root = getenv("FAULTS_ROOT");
    if (!root || !file)
        return;
    root_length = strlen(root);
    int fd = REAL(open)(file, O_RDWR | O_CLOEXEC);
    void *map = mmap(NULL, sizeof(struct plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || map == MAP_FAILED)
        abort();
    plan = map;
    REAL(close)(fd);
}

static int is_inside(const char *path) {
    return plan && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int is_tracked(int fd) {
    return plan && fd >= 0 && fd < MAX_FDS && is_inside_root[fd];
}

/* Counts a call, and says whether it is one that fails. */
static int fails(enum kind kind) {
    uint64_t number = __atomic_add_fetch(&plan->calls, 1, __ATOMIC_SEQ_CST);
    if (!plan->first || number < plan->first || number - plan->first >= plan->count)
        return 0;
    int32_t none = 0;
    __atomic_compare_exchange_n(&plan->failed, &none, kind, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    errno = plan->error;
    return 1;
}

/* Whether opening fails that would make a file that was not there, with a name or without one. */
static int fails_to_create(const char *path, int flags) {
    if ((flags & O_TMPFILE) == O_TMPFILE)
        return fails(NAMELESS);
    return flags & O_CREAT && access(path, F_OK) && fails(CREATE);
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
        if (fails_to_create(path, flags))                                                                              \
            return -1;                                                                                                 \
        int fd = REAL(name)(path, flags, mode);                                                                        \
        if (fd >= MAX_FDS)                                                                                             \
            abort();                                                                                                   \
        if (fd >= 0)                                                                                                   \
            is_inside_root[fd] = flags & (O_DSYNC | O_SYNC) ? 2 : 1;                                                   \
        return fd;                                                                                                     \
    }

DEFINE_OPEN(open)
DEFINE_OPEN(open64)

int close(int fd) {
    if (is_tracked(fd))
        is_inside_root[fd] = 0;
    return REAL(close)(fd);
}

/* Defines a function that writes. */
#define DEFINE_WRITE(name, parameters, arguments)                                                                      \
    ssize_t name parameters {                                                                                          \
        if (is_tracked(fd) && fails(WRITE)) {                                                                          \
            int error = errno;                                                                                         \
            if (is_inside_root[fd] == 2)                                                                               \
                (void)!REAL(name) arguments;                                                                           \
            errno = error;                                                                                             \
            return -1;                                                                                                 \
        }                                                                                                              \
        return REAL(name) arguments;                                                                                   \
    }

DEFINE_WRITE(write, (int fd, const void *bytes, size_t length), (fd, bytes, length))
DEFINE_WRITE(pwrite, (int fd, const void *bytes, size_t length, off_t offset), (fd, bytes, length, offset))
DEFINE_WRITE(pwrite64, (int fd, const void *bytes, size_t length, off64_t offset), (fd, bytes, length, offset))
DEFINE_WRITE(writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
DEFINE_WRITE(pwritev, (int fd, const struct iovec *parts, int count, off_t offset), (fd, parts, count, offset))
DEFINE_WRITE(pwritev64, (int fd, const struct iovec *parts, int count, off64_t offset), (fd, parts, count, offset))

/* Defines what is done to an open file and either succeeds or not. */
#define DEFINE_ON_FD(name, kind, parameters, arguments)                                                                \
    int name parameters {                                                                                              \
        return is_tracked(fd) && fails(kind) ? -1 : REAL(name) arguments;                                              \
    }

DEFINE_ON_FD(fsync, SYNC, (int fd), (fd))
DEFINE_ON_FD(fdatasync, SYNC, (int fd), (fd))
DEFINE_ON_FD(ftruncate, LENGTHEN, (int fd, off_t length), (fd, length))
DEFINE_ON_FD(ftruncate64, LENGTHEN, (int fd, off64_t length), (fd, length))
DEFINE_ON_FD(fallocate, LENGTHEN, (int fd, int mode, off_t offset, off_t length), (fd, mode, offset, length))
DEFINE_ON_FD(fallocate64, LENGTHEN, (int fd, int mode, off64_t offset, off64_t length), (fd, mode, offset, length))

/* No program maps anything else to write to it. */
int msync(void *at, size_t length, int flags) {
    return plan && fails(SYNC) ? -1 : REAL(msync)(at, length, flags);
}

/* Defines what is done to names and either succeeds or not. */
#define DEFINE_ON_PATH(name, kind, parameters, arguments)                                                              \
    int name parameters {                                                                                              \
        return is_inside(path) && fails(kind) ? -1 : REAL(name) arguments;                                             \
    }

DEFINE_ON_PATH(rename, NAME, (const char *path, const char *to), (path, to))
DEFINE_ON_PATH(link, NAME, (const char *path, const char *to), (path, to))
/* A file without a name gets one: what it is called before lies elsewhere. */
DEFINE_ON_PATH(linkat, NAMELESS, (int from_fd, const char *from, int to_fd, const char *path, int flags),
               (from_fd, from, to_fd, path, flags))
DEFINE_ON_PATH(mkdir, CREATE, (const char *path, mode_t mode), (path, mode))
DEFINE_ON_PATH(unlink, REMOVE, (const char *path), (path))
DEFINE_ON_PATH(rmdir, REMOVE, (const char *path), (path))
