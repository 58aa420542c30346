/* Records what a process does to the files under one folder. disk.py says what a dead machine may leave of it.
 *
 * Preloaded (LD_PRELOAD) with PLAIT_RECORD_ROOT, a folder, and PLAIT_RECORD_LOG, a file. Each change appends a record
 * to the file: a header, then one or two names, or bytes. A change and its record are one step for all threads.
 * Copies inside the kernel (sendfile, copy_file_range) are refused, upon which callers read and write.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct header {
    uint64_t kind, inode, offset, first, second;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_length;
static int log_fd = -1;

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("PLAIT_RECORD_ROOT"), *file = getenv("PLAIT_RECORD_LOG");
    if (!folder || !file || !realpath(folder, root)) return;
    root_length = strlen(root);
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    log_fd = fd < 0 ? -1 : (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 800);
}

static void record(char kind, uint64_t inode, uint64_t offset, const void *first, size_t first_length,
                   const void *second, size_t second_length) {
    struct header h = {(uint64_t)kind, inode, offset, first_length, second_length};
    struct iovec parts[] = {{&h, sizeof h}, {(void *)first, first_length}, {(void *)second, second_length}};
    ssize_t whole = sizeof h + first_length + second_length;
    if (syscall(SYS_writev, log_fd, parts, 3) != whole) abort(); /* a record with a hole would prove nothing */
}

static int within(const char *path) {
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* The file or folder behind a descriptor, if it lies under the root. */
static int ours(int fd, struct stat *status) {
    char link[64], path[PATH_MAX + 16];
    if (log_fd < 0 || fd < 0 || fstat(fd, status) || !(S_ISREG(status->st_mode) || S_ISDIR(status->st_mode))) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return within(path);
}

/* An absolute path without links in its folder; 0: it lies elsewhere. */
static int resolve(int at, const char *path, char *out) {
    char folder[PATH_MAX], whole[PATH_MAX * 2], link[64];
    if (log_fd < 0 || !path) return 0;
    if (path[0] == '/') {
        snprintf(whole, sizeof whole, "%s", path);
    } else {
        if (at == AT_FDCWD) {
            if (!getcwd(folder, sizeof folder)) return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, folder, sizeof folder - 1);
            if (n < 0) return 0;
            folder[n] = 0;
        }
        snprintf(whole, sizeof whole, "%s/%s", folder, path);
    }
    size_t n = strlen(whole);
    while (n > 1 && whole[n - 1] == '/') whole[--n] = 0;
    char *name = strrchr(whole, '/'), kept[PATH_MAX];
    snprintf(kept, sizeof kept, "%s", name + 1);
    *name = 0;
    if (!realpath(name == whole ? "/" : whole, folder)) return 0;
    if (strlen(folder) + strlen(kept) + 2 > PATH_MAX) return 0;
    strcat(strcat(strcpy(out, strcmp(folder, "/") ? folder : ""), "/"), kept);
    return within(out);
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define LOCKED pthread_mutex_lock(&lock)
#define UNLOCKED \
    do { \
        int e = errno; \
        pthread_mutex_unlock(&lock); \
        errno = e; \
    } while (0)

/* Opening: C a file was made, T it was cut. */
static void opened(const char *path, int fd, int existed, int cut) {
    struct stat status;
    if (fd < 0 || fstat(fd, &status) || !S_ISREG(status.st_mode)) return;
    if (!existed) record('C', status.st_ino, 0, path, strlen(path), NULL, 0);
    else if (cut) record('T', status.st_ino, 0, NULL, 0, NULL, 0);
}

#define OPEN(at, path, flags, call) \
    char whole[PATH_MAX]; \
    if (((flags) & O_ACCMODE) == O_RDONLY && !((flags) & (O_CREAT | O_TRUNC))) return call; \
    if (!resolve(at, path, whole)) return call; \
    LOCKED; \
    int existed = !access(whole, F_OK), fd = call; \
    opened(whole, fd, existed, (flags) & O_TRUNC); \
    UNLOCKED; \
    return fd

#define MODE \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
        va_list more; \
        va_start(more, flags); \
        mode = va_arg(more, mode_t); \
        va_end(more); \
    }

int open(const char *path, int flags, ...) {
    MODE REAL(open);
    OPEN(AT_FDCWD, path, flags, real(path, flags, mode));
}
int open64(const char *path, int flags, ...) {
    MODE REAL(open64);
    OPEN(AT_FDCWD, path, flags, real(path, flags, mode));
}
int openat(int at, const char *path, int flags, ...) {
    MODE REAL(openat);
    OPEN(at, path, flags, real(at, path, flags, mode));
}
int openat64(int at, const char *path, int flags, ...) {
    MODE REAL(openat64);
    OPEN(at, path, flags, real(at, path, flags, mode));
}

#define FOPEN(name) \
    FILE *name(const char *path, const char *how) { \
        REAL(name); \
        char whole[PATH_MAX]; \
        if (how[0] == 'r' || !resolve(AT_FDCWD, path, whole)) return real(path, how); \
        LOCKED; \
        int existed = !access(whole, F_OK); \
        FILE *file = real(path, how); \
        if (file) opened(whole, fileno(file), existed, how[0] == 'w'); \
        UNLOCKED; \
        return file; \
    }
FOPEN(fopen)
FOPEN(fopen64)

/* Writing: W bytes at an offset. */
static void wrote(uint64_t inode, uint64_t offset, const struct iovec *parts, int count, size_t left) {
    for (int i = 0; i < count && left; i++) {
        size_t n = parts[i].iov_len < left ? parts[i].iov_len : left;
        if (n) record('W', inode, offset, parts[i].iov_base, n, NULL, 0);
        offset += n;
        left -= n;
    }
}

#define WRITE(fd, call, parts, count, where) \
    struct stat status; \
    if (!ours(fd, &status)) return call; \
    LOCKED; \
    ssize_t n = call; \
    if (n > 0) wrote(status.st_ino, where, parts, count, n); \
    UNLOCKED; \
    return n
#define ONE(data, size) (&(struct iovec){(void *)(data), size})

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    WRITE(fd, real(fd, data, size), ONE(data, size), 1, syscall(SYS_lseek, fd, 0, SEEK_CUR) - n);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    WRITE(fd, real(fd, parts, count), parts, count, syscall(SYS_lseek, fd, 0, SEEK_CUR) - n);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(pwrite);
    WRITE(fd, real(fd, data, size, at), ONE(data, size), 1, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    WRITE(fd, real(fd, data, size, at), ONE(data, size), 1, at);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    REAL(pwritev);
    WRITE(fd, real(fd, parts, count, at), parts, count, at);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    REAL(pwritev64);
    WRITE(fd, real(fd, parts, count, at), parts, count, at);
}

/* The C library writes its buffers without a call that could be replaced: a buffer of ours is never used. */
size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    REAL(fwrite);
    struct stat status;
    if (!size || !ours(fileno(file), &status)) return real(data, size, count, file);
    if (fflush(file)) return 0;
    size_t done = 0, whole = size * count;
    while (done < whole) {
        ssize_t n = write(fileno(file), (const char *)data + done, whole - done);
        if (n < 0) break;
        done += n;
    }
    return done / size;
}

#define SIZED(fd, call) \
    struct stat status; \
    if (!ours(fd, &status)) return call; \
    LOCKED; \
    int result = call; \
    if (!result && !fstat(fd, &status)) record('T', status.st_ino, status.st_size, NULL, 0, NULL, 0); \
    UNLOCKED; \
    return result

int ftruncate(int fd, off_t size) { REAL(ftruncate); SIZED(fd, real(fd, size)); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); SIZED(fd, real(fd, size)); }
int fallocate(int fd, int how, off_t at, off_t n) { REAL(fallocate); SIZED(fd, real(fd, how, at, n)); }
int fallocate64(int fd, int how, off64_t at, off64_t n) { REAL(fallocate64); SIZED(fd, real(fd, how, at, n)); }
int posix_fallocate(int fd, off_t at, off_t n) { REAL(posix_fallocate); SIZED(fd, real(fd, at, n)); }
int posix_fallocate64(int fd, off64_t at, off64_t n) { REAL(posix_fallocate64); SIZED(fd, real(fd, at, n)); }

static int cut(const char *path, off_t size) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    int result = ftruncate(fd, size);
    close(fd);
    return result;
}
int truncate(const char *path, off_t size) { return cut(path, size); }
int truncate64(const char *path, off64_t size) { return cut(path, size); }

/* Names: R renamed, L linked, U a name is gone, M a folder was made, D one is gone. */
typedef int change(int, const char *, int, const char *);
static int named(char kind, int at, const char *a, int to, const char *b, change *call) {
    char first[PATH_MAX], second[PATH_MAX] = "";
    struct stat status = {0};
    int here = resolve(at, a, first), there = b && resolve(to, b, second);
    if (!here && !there) return call(at, a, to, b);
    if (b && here != there) abort(); /* moved or linked into or out of the root: the model cannot follow */
    LOCKED;
    int result = call(at, a, to, b);
    if (!result && kind == 'M' && stat(first, &status)) abort();
    if (!result) record(kind, status.st_ino, 0, first, strlen(first), second, strlen(second));
    UNLOCKED;
    return result;
}

static int call_rename(int at, const char *a, int to, const char *b) {
    return syscall(SYS_renameat2, at, a, to, b, 0);
}
static int call_link(int at, const char *a, int to, const char *b) { return syscall(SYS_linkat, at, a, to, b, 0); }
static int call_unlink(int at, const char *a, int to, const char *b) {
    (void)to, (void)b;
    return syscall(SYS_unlinkat, at, a, 0);
}
static int call_rmdir(int at, const char *a, int to, const char *b) {
    (void)to, (void)b;
    return syscall(SYS_unlinkat, at, a, AT_REMOVEDIR);
}
static __thread mode_t folder_mode;
static int call_mkdir(int at, const char *a, int to, const char *b) {
    (void)to, (void)b;
    return syscall(SYS_mkdirat, at, a, folder_mode);
}

int rename(const char *a, const char *b) { return named('R', AT_FDCWD, a, AT_FDCWD, b, call_rename); }
int renameat(int at, const char *a, int to, const char *b) { return named('R', at, a, to, b, call_rename); }
int link(const char *a, const char *b) { return named('L', AT_FDCWD, a, AT_FDCWD, b, call_link); }
int linkat(int at, const char *a, int to, const char *b, int flags) {
    (void)flags;
    return named('L', at, a, to, b, call_link);
}
int unlink(const char *a) { return named('U', AT_FDCWD, a, 0, NULL, call_unlink); }
int rmdir(const char *a) { return named('D', AT_FDCWD, a, 0, NULL, call_rmdir); }
int unlinkat(int at, const char *a, int flags) {
    int folder = flags & AT_REMOVEDIR;
    return named(folder ? 'D' : 'U', at, a, 0, NULL, folder ? call_rmdir : call_unlink);
}
int remove(const char *a) {
    struct stat status;
    return !lstat(a, &status) && S_ISDIR(status.st_mode) ? rmdir(a) : unlink(a);
}
int mkdir(const char *a, mode_t mode) {
    folder_mode = mode;
    return named('M', AT_FDCWD, a, 0, NULL, call_mkdir);
}
int mkdirat(int at, const char *a, mode_t mode) {
    folder_mode = mode;
    return named('M', at, a, 0, NULL, call_mkdir);
}

/* S: what a file or folder held by now is on the disk. */
#define SYNC(call) \
    REAL(call); \
    struct stat status; \
    if (!ours(fd, &status)) return real(fd); \
    LOCKED; \
    int result = real(fd); \
    if (!result) record('S', status.st_ino, 0, NULL, 0, NULL, 0); \
    UNLOCKED; \
    return result
int fsync(int fd) { SYNC(fsync); }
int fdatasync(int fd) { SYNC(fdatasync); }

/* Y: a file may be written through memory, which nobody sees. */
static void mapped(int fd, int rights, int flags) {
    struct stat status;
    if (!(flags & MAP_SHARED) || !(rights & PROT_WRITE) || (flags & MAP_ANONYMOUS) || !ours(fd, &status)) return;
    LOCKED;
    record('Y', status.st_ino, 0, NULL, 0, NULL, 0);
    UNLOCKED;
}
void *mmap(void *at, size_t n, int rights, int flags, int fd, off_t offset) {
    mapped(fd, rights, flags);
    return (void *)syscall(SYS_mmap, at, n, rights, flags, fd, offset);
}
void *mmap64(void *at, size_t n, int rights, int flags, int fd, off64_t offset) {
    mapped(fd, rights, flags);
    return (void *)syscall(SYS_mmap, at, n, rights, flags, fd, offset);
}

ssize_t sendfile(int to, int from, off_t *at, size_t n) {
    struct stat status;
    if (ours(to, &status)) return errno = EINVAL, -1;
    return syscall(SYS_sendfile, to, from, at, n);
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t n) {
    struct stat status;
    if (ours(to, &status)) return errno = EINVAL, -1;
    return syscall(SYS_sendfile, to, from, at, n);
}
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t n, unsigned flags) {
    struct stat status;
    if (ours(to, &status)) return errno = EINVAL, -1;
    return syscall(SYS_copy_file_range, from, a, to, b, n, flags);
}
