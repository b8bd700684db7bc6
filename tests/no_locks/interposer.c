/* Counts what one thread does between two marks that it writes, to whatever file: calls of pthread's locks, and of the futex system call,
 * which the standard library's locks make through syscall(2) once they have to wait. Preloaded by tests/no_locks.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static __thread int counting __attribute__((tls_model("initial-exec")));
static __thread unsigned long mutexes __attribute__((tls_model("initial-exec")));
static __thread unsigned long rwlocks __attribute__((tls_model("initial-exec")));
static __thread unsigned long futexes __attribute__((tls_model("initial-exec")));

#define COUNTED(counter, name, type)                                                                                            \
    int name(type *lock) {                                                                                                      \
        static int (*real)(type *);                                                                                             \
        if (!real) real = (int (*)(type *))dlsym(RTLD_NEXT, #name);                                                             \
        counter += counting;                                                                                                    \
        return real(lock);                                                                                                      \
    }

COUNTED(mutexes, pthread_mutex_lock, pthread_mutex_t)
COUNTED(mutexes, pthread_mutex_trylock, pthread_mutex_t)
COUNTED(mutexes, pthread_mutex_unlock, pthread_mutex_t)
COUNTED(rwlocks, pthread_rwlock_rdlock, pthread_rwlock_t)
COUNTED(rwlocks, pthread_rwlock_tryrdlock, pthread_rwlock_t)
COUNTED(rwlocks, pthread_rwlock_wrlock, pthread_rwlock_t)
COUNTED(rwlocks, pthread_rwlock_trywrlock, pthread_rwlock_t)
COUNTED(rwlocks, pthread_rwlock_unlock, pthread_rwlock_t)

long syscall(long number, ...) {
    static long (*real)(long, ...);
    if (!real) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    if (number == SYS_futex) futexes += counting;
    va_list list;
    va_start(list, number);
    long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long);
    long d = va_arg(list, long), e = va_arg(list, long), f = va_arg(list, long);
    va_end(list);
    return real(number, a, b, c, d, e, f);
}

ssize_t write(int fd, const void *bytes, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (size >= 7 && !memcmp(bytes, "#count+", 7)) {
        mutexes = rwlocks = futexes = 0;
        counting = 1;
        return (ssize_t)size;
    }
    if (size >= 7 && !memcmp(bytes, "#count-", 7)) {
        counting = 0;
        char line[128];
        int length = snprintf(line, sizeof line, "counted mutex %lu rwlock %lu futex %lu\n", mutexes, rwlocks, futexes);
        real(2, line, (size_t)length);
        return (ssize_t)size;
    }
    return real(fd, bytes, size);
}
