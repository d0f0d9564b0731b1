/*
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Preloaded into the process that runs modules: counts its calls of the system on files below a directory and on sockets, and
 * has one of them fail, do half of its work, or bring a signal.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum fault { NONE, FAIL, HALF, SIGNAL_BEFORE, SIGNAL_AFTER, FAIL_FROM_HERE_ON };

static char directory[PATH_MAX];
static long chosen;
static enum fault fault;
static int value; /* an errno, or a signal */
static int record = -1;
static pid_t owner;
static atomic_long count;

void sweep_arm(const char *below, long call, int what, int with, int descriptor) {
  snprintf(directory, sizeof directory, "%s", below);
  chosen = call, fault = what, value = with, record = descriptor, owner = getpid();
}

void sweep_disarm(void) { owner = 0; }

/* Programs that a module starts do their own work. */
__attribute__((constructor)) static void load_into_this_process_only(void) { unsetenv("LD_PRELOAD"); }

static const char SOCKET[] = "socket"; /* the path of what is sent and received */

static int is_below(int at, const char *path) {
  char place[PATH_MAX], link[64];
  if (path && path[0] == '/') return strncmp(path, directory, strlen(directory)) == 0;
  if (at == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
  else snprintf(link, sizeof link, "/proc/self/fd/%d", at);
  long length = syscall(SYS_readlink, link, place, sizeof place - 1);
  place[length < 0 ? 0 : length] = 0;
  return strncmp(place, directory, strlen(directory)) == 0;
}

/* Counts a call, and returns what becomes of it. */
static enum fault meet(const char *name, int at, const char *path) {
  if (owner != getpid()) return NONE;
  int before = errno;
  enum fault met = NONE;
  if (path == SOCKET || is_below(at, path)) {
    long number = atomic_fetch_add(&count, 1) + 1;
    if (record >= 0) dprintf(record, "%s\n", name);
    if (number == chosen || (fault == FAIL_FROM_HERE_ON && number >= chosen)) met = fault == FAIL_FROM_HERE_ON ? FAIL : fault;
  }
  if (met == SIGNAL_BEFORE) kill(getpid(), value);
  errno = before;
  return met;
}

static void leave(enum fault met) {
  int before = errno;
  if (met == SIGNAL_AFTER) kill(getpid(), value);
  errno = before;
}

#define REAL(name) \
  static __typeof__(name) *real; \
  if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* A function whose call fails as a whole. */
#define CALL(type, name, parameters, at, path, arguments, failed) \
  type name parameters { \
    REAL(name); \
    enum fault met = meet(#name, at, path); \
    if (met == FAIL) return errno = value, failed; \
    type result = real arguments; \
    leave(met); \
    return result; \
  }

/* One that moves bytes. */
#define MOVE(name, parameters, at, whole, half) \
  ssize_t name parameters { \
    REAL(name); \
    enum fault met = meet(#name, at, NULL); \
    if (met == FAIL) return errno = value, -1; \
    ssize_t result = met == HALF && size > 1 ? real half : real whole; \
    leave(met); \
    return result; \
  }

#define OPEN(name, parameters, at, ...) \
  int name parameters { \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    REAL(name); \
    enum fault met = meet(#name, at, path); \
    if (met == FAIL) return errno = value, -1; \
    int result = real(__VA_ARGS__, flags, mode); \
    leave(met); \
    return result; \
  }

OPEN(open, (const char *path, int flags, ...), AT_FDCWD, path)
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, path)
OPEN(openat, (int at, const char *path, int flags, ...), at, at, path)
OPEN(openat64, (int at, const char *path, int flags, ...), at, at, path)

MOVE(read, (int file, void *bytes, size_t size), file, (file, bytes, size), (file, bytes, size / 2))
MOVE(write, (int file, const void *bytes, size_t size), file, (file, bytes, size), (file, bytes, size / 2))
MOVE(pread, (int file, void *bytes, size_t size, off_t offset), file, (file, bytes, size, offset), (file, bytes, size / 2, offset))
MOVE(pread64, (int file, void *bytes, size_t size, off64_t offset), file, (file, bytes, size, offset), (file, bytes, size / 2, offset))
MOVE(pwrite, (int file, const void *bytes, size_t size, off_t offset), file, (file, bytes, size, offset), (file, bytes, size / 2, offset))
MOVE(pwrite64, (int file, const void *bytes, size_t size, off64_t offset), file, (file, bytes, size, offset), (file, bytes, size / 2, offset))

static const struct iovec *first_half(const struct iovec *parts) {
  static _Thread_local struct iovec half;
  half = parts[0], half.iov_len /= 2;
  return &half;
}

#define SCATTER(name, parameters, whole, half) \
  ssize_t name parameters { \
    REAL(name); \
    enum fault met = meet(#name, file, NULL); \
    if (met == FAIL) return errno = value, -1; \
    ssize_t result = met == HALF && parts[0].iov_len > 1 ? real half : real whole; \
    leave(met); \
    return result; \
  }

SCATTER(readv, (int file, const struct iovec *parts, int number), (file, parts, number), (file, first_half(parts), 1))
SCATTER(preadv, (int file, const struct iovec *parts, int number, off_t offset), (file, parts, number, offset), (file, first_half(parts), 1, offset))
SCATTER(preadv64, (int file, const struct iovec *parts, int number, off64_t offset), (file, parts, number, offset), (file, first_half(parts), 1, offset))
SCATTER(preadv64v2, (int file, const struct iovec *parts, int number, off64_t offset, int flags), (file, parts, number, offset, flags), (file, first_half(parts), 1, offset, flags))

/* A connection over which a call failed is lost. */
#define TALK(name, parameters, whole, half) \
  ssize_t name parameters { \
    REAL(name); \
    enum fault met = meet(#name, file, SOCKET); \
    if (met == FAIL) return shutdown(file, SHUT_RDWR), errno = value, -1; \
    ssize_t result = met == HALF && size > 1 ? real half : real whole; \
    leave(met); \
    return result; \
  }

TALK(recv, (int file, void *bytes, size_t size, int flags), (file, bytes, size, flags), (file, bytes, size / 2, flags))
TALK(send, (int file, const void *bytes, size_t size, int flags), (file, bytes, size, flags), (file, bytes, size / 2, flags))

CALL(int, connect, (int file, const struct sockaddr *to, socklen_t size), file, SOCKET, (file, to, size), -1)
CALL(int, fsync, (int file), file, NULL, (file), -1)
CALL(int, fdatasync, (int file), file, NULL, (file), -1)
CALL(int, flock, (int file, int how), file, NULL, (file, how), -1)
CALL(int, fchmod, (int file, mode_t mode), file, NULL, (file, mode), -1)
CALL(int, fchown, (int file, uid_t user, gid_t group), file, NULL, (file, user, group), -1)
CALL(int, ftruncate, (int file, off_t size), file, NULL, (file, size), -1)
CALL(int, ftruncate64, (int file, off64_t size), file, NULL, (file, size), -1)
CALL(int, rename, (const char *path, const char *new), AT_FDCWD, path, (path, new), -1)
CALL(int, renameat, (int at, const char *path, int to, const char *new), at, path, (at, path, to, new), -1)
CALL(int, link, (const char *path, const char *new), AT_FDCWD, path, (path, new), -1)
CALL(int, linkat, (int at, const char *path, int to, const char *new, int flags), at, path, (at, path, to, new, flags), -1)
CALL(int, unlink, (const char *path), AT_FDCWD, path, (path), -1)
CALL(int, unlinkat, (int at, const char *path, int flags), at, path, (at, path, flags), -1)
CALL(int, rmdir, (const char *path), AT_FDCWD, path, (path), -1)
CALL(int, mkdir, (const char *path, mode_t mode), AT_FDCWD, path, (path, mode), -1)
CALL(int, mkdirat, (int at, const char *path, mode_t mode), at, path, (at, path, mode), -1)
CALL(int, stat, (const char *path, struct stat *found), AT_FDCWD, path, (path, found), -1)
CALL(int, stat64, (const char *path, struct stat64 *found), AT_FDCWD, path, (path, found), -1)
CALL(int, lstat, (const char *path, struct stat *found), AT_FDCWD, path, (path, found), -1)
CALL(int, lstat64, (const char *path, struct stat64 *found), AT_FDCWD, path, (path, found), -1)
CALL(int, fstat, (int file, struct stat *found), file, NULL, (file, found), -1)
CALL(int, fstat64, (int file, struct stat64 *found), file, NULL, (file, found), -1)
CALL(int, fstatat, (int at, const char *path, struct stat *found, int flags), at, path, (at, path, found, flags), -1)
CALL(int, fstatat64, (int at, const char *path, struct stat64 *found, int flags), at, path, (at, path, found, flags), -1)
CALL(int, fstatvfs, (int file, struct statvfs *found), file, NULL, (file, found), -1)
CALL(int, fstatvfs64, (int file, struct statvfs64 *found), file, NULL, (file, found), -1)
CALL(int, faccessat, (int at, const char *path, int mode, int flags), at, path, (at, path, mode, flags), -1)
CALL(struct dirent *, readdir, (DIR * folder), dirfd(folder), NULL, (folder), NULL)
CALL(struct dirent64 *, readdir64, (DIR * folder), dirfd(folder), NULL, (folder), NULL)

int close(int file) {
  REAL(close);
  enum fault met = meet("close", file, NULL);
  int result = real(file); /* also when it fails: the descriptor is free then */
  if (met == FAIL) return errno = value, -1;
  leave(met);
  return result;
}
