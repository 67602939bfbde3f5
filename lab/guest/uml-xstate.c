/* Loaded before libc into User-Mode Linux, so that it runs on processors with AMX.
 *
 * UML 6.1 keeps 2,696 bytes of a process's registers, all up to AVX-512 and PKRU, and gives them back by
 * ptrace(PTRACE_SETREGSET, NT_X86_XSTATE). The host's kernel takes only the whole area of its processor there
 * (arch/x86/kernel/fpu/regset.c, xstateregs_set), which is 11,008 bytes with AMX: it fails with EFAULT, and the guest's
 * first process dies. So what UML gives is completed here: what lies beyond it is in its initial state. A process has no
 * AMX state before it asks for it (arch_prctl ARCH_REQ_XCOMP_PERM), which nothing in a guest does.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

enum { MOST = 1 << 16, HEADER = 512 /* where XSTATE_BV is: Intel SDM 1, 13.4.2 */ };

static long (*next)(int, ...);
static unsigned whole;                                /* bytes of the area that the host's kernel wants */
static unsigned given;                                /* bytes that `kept` was made for */
static uint64_t kept;                                 /* the components that lie within these */
static uint8_t area[MOST] __attribute__((aligned(64))); /* a UML kernel has one CPU, and is not preempted here */

__attribute__((constructor)) static void begin(void) {
    unsigned eax, ebx = 0, ecx, edx;
    next = (long (*)(int, ...))dlsym(RTLD_NEXT, "ptrace");
    if (__get_cpuid_count(13, 0, &eax, &ebx, &ecx, &edx) && ebx <= MOST)
        whole = ebx;
}

static void measure(unsigned length) {
    kept = 3; /* x87 and SSE are in the fixed part */
    for (unsigned component = 2; component < 63; component++) {
        unsigned size, offset, ecx, edx;
        __cpuid_count(13, component, size, offset, ecx, edx);
        if (size && !(ecx & 1) && offset + size <= length)
            kept |= (uint64_t)1 << component;
    }
    given = length;
}

long ptrace(enum __ptrace_request request, ...) {
    va_list more;
    va_start(more, request);
    int process = va_arg(more, int);
    void *address = va_arg(more, void *), *data = va_arg(more, void *);
    va_end(more);
    const struct iovec *registers = data;
    if (request != PTRACE_SETREGSET || address != (void *)NT_X86_XSTATE || registers->iov_len >= whole ||
        registers->iov_len < HEADER + 8)
        return next(request, process, address, data);
    if (given != registers->iov_len)
        measure(registers->iov_len);
    memcpy(area, registers->iov_base, registers->iov_len);
    *(uint64_t *)(area + HEADER) &= kept;
    struct iovec completed = {area, whole};
    return next(request, process, address, &completed);
}
