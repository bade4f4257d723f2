/* Preloaded into a process under test: writes that end early, and a record of what was made durable, and when.
 *
 * shim_short(n, 1): from the n-th write of this process on, each takes half of what it was given; with 0 the n-th alone.
 * shim_record(folder, lines): from now on, each fsync copies the file, or the names of the folder, into `folder`; a line
 * of `folder/log`, which has so many `lines`, says which: `F <key>`, `D <key>`, and what shim_note was told. The number
 * of the line names the copy.
 * A key is inode and birth: an inode that is used again is another file.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long short_at = 0, writes = 0;
static int short_ever = 0;
static char record[3000];
static long events = 0;
static int log_fd = -1;

void shim_short(long at, int ever) { writes = 0; short_at = at; short_ever = ever; }

long shim_writes(void) { return writes; }

static int is_short(void) {
    long now = __atomic_add_fetch(&writes, 1, __ATOMIC_SEQ_CST);
    return short_at && (now == short_at || (short_ever && now > short_at));
}

static size_t cut(size_t size) { return size > 1 && is_short() ? size / 2 : size; }

ssize_t write(int fd, const void *data, size_t size) { return syscall(SYS_write, fd, data, cut(size)); }

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return syscall(SYS_pwrite64, fd, data, cut(size), at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    size_t size = 0;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    if (size < 2 || !is_short()) return syscall(SYS_writev, fd, parts, count);
    size /= 2;
    struct iovec *fewer = malloc(sizeof *fewer * count);
    int kept = 0;
    for (; kept < count && size; kept++) {
        fewer[kept] = parts[kept];
        if (fewer[kept].iov_len > size) fewer[kept].iov_len = size;
        size -= fewer[kept].iov_len;
    }
    ssize_t done = syscall(SYS_writev, fd, fewer, kept);
    free(fewer);
    return done;
}

static int key_of(int fd, const char *name, char *key, size_t room, int *is_dir) {
    struct statx found;
    if (statx(fd, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME | STATX_TYPE, &found)) return -1;
    *is_dir = S_ISDIR(found.stx_mode);
    snprintf(key, room, "%llu.%lld.%u", (unsigned long long)found.stx_ino, (long long)found.stx_btime.tv_sec,
             found.stx_btime.tv_nsec);
    return 0;
}

static void copy_names(int fd, FILE *out) {
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY);
    DIR *folder = again < 0 ? NULL : fdopendir(again);
    for (struct dirent *one; folder && (one = readdir(folder));) {
        char key[100];
        int is_dir;
        if (!strcmp(one->d_name, ".") || !strcmp(one->d_name, "..")) continue;
        if (!key_of(again, one->d_name, key, sizeof key, &is_dir))
            fprintf(out, "%s %s %s\n", is_dir ? "D" : "F", key, one->d_name);
    }
    if (folder) closedir(folder);
}

static void copy_bytes(int fd, int out) {
    static char buffer[1 << 20];
    ssize_t size;
    char path[100];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int in = open(path, O_RDONLY);
    while (in >= 0 && (size = read(in, buffer, sizeof buffer)) > 0) syscall(SYS_write, out, buffer, size);
    if (in >= 0) close(in);
}

static void say(const char *format, ...) {
    char line[300];
    va_list values;
    va_start(values, format);
    int size = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    syscall(SYS_write, log_fd, line, size);
    events++;
}

static void remember(int fd) {
    char key[100], path[3100];
    int is_dir;
    if (!record[0] || key_of(fd, "", key, sizeof key, &is_dir)) return;
    pthread_mutex_lock(&lock);
    snprintf(path, sizeof path, "%s/%ld", record, events);
    if (is_dir) {
        FILE *out = fopen(path, "w");
        copy_names(fd, out);
        fclose(out);
    } else {
        int out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        copy_bytes(fd, out);
        close(out);
    }
    say("%s %s\n", is_dir ? "D" : "F", key);
    pthread_mutex_unlock(&lock);
}

void shim_record(const char *folder, long lines) {
    char path[3100];
    snprintf(record, sizeof record, "%s", folder);
    snprintf(path, sizeof path, "%s/log", folder);
    events = lines;
    log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

void shim_note(const char *word, long number) {
    if (!record[0]) return;
    pthread_mutex_lock(&lock);
    say("%s %ld\n", word, number);
    pthread_mutex_unlock(&lock);
}

int fsync(int fd) {
    int done = syscall(SYS_fsync, fd);
    if (!done) remember(fd);
    return done;
}

int fdatasync(int fd) {
    int done = syscall(SYS_fdatasync, fd);
    if (!done) remember(fd);
    return done;
}
