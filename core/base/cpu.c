/* cpu.c: features of the processor, and how much of the machine this process may use. */
#define _GNU_SOURCE /* sched_getaffinity and masks of any size */

#include "base/cpu.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

static const char *const level_names[CPU_LEVELS] = {
    [CPU_GENERIC] = "generic",
    [CPU_AVX2] = "avx2",
    [CPU_AVX512] = "avx512",
    [CPU_NEON] = "neon",
};

const char *cpu_level_name(cpu_level level)
{
    return (unsigned)level < CPU_LEVELS ? level_names[level] : "unknown";
}

/* ---- features ---- */

#if defined(__x86_64__) || defined(__i386__)

/* Bits of CPUID leaf 1 ECX, leaf 7 EBX and ECX, and leaf 7 subleaf 1 EAX (Intel SDM volume 2, CPUID). */
enum {
    LEAF1_ECX_FMA = 1 << 12,
    LEAF1_ECX_OSXSAVE = 1 << 27,
    LEAF1_ECX_AVX = 1 << 28,
    LEAF1_ECX_F16C = 1 << 29,
    LEAF7_EBX_AVX2 = 1 << 5,
    LEAF7_EBX_AVX512F = 1 << 16,
    LEAF7_EBX_AVX512DQ = 1 << 17,
    LEAF7_EBX_AVX512BW = 1 << 30,
    LEAF7_ECX_AVX512VNNI = 1 << 11,
    LEAF7_1_EAX_AVX512BF16 = 1 << 5,
};
#define LEAF7_EBX_AVX512VL (1u << 31)

/* Registers that the operating system saves (XCR0): SSE and AVX; then opmask, the upper halves and ZMM16-31. */
enum { XCR0_AVX = 0x6, XCR0_AVX512 = 0xe6 };

static uint32_t read_xcr0(void)
{
    uint32_t low, high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool has_all(uint32_t value, uint32_t bits)
{
    return (value & bits) == bits;
}

bool cpu_supports(cpu_level level)
{
    const uint32_t avx2_ecx1 = LEAF1_ECX_FMA | LEAF1_ECX_OSXSAVE | LEAF1_ECX_AVX | LEAF1_ECX_F16C;
    const uint32_t avx512_ebx7 = LEAF7_EBX_AVX512F | LEAF7_EBX_AVX512DQ | LEAF7_EBX_AVX512BW | LEAF7_EBX_AVX512VL;
    uint32_t a, b, ecx1 = 0, ebx7 = 0, ecx7 = 0, d, xcr0;

    if (level == CPU_GENERIC)
        return true;
    if (level != CPU_AVX2 && level != CPU_AVX512)
        return false;
    if (!__get_cpuid(1, &a, &b, &ecx1, &d) || !has_all(ecx1, avx2_ecx1))
        return false;
    if (!__get_cpuid_count(7, 0, &a, &ebx7, &ecx7, &d) || !has_all(ebx7, LEAF7_EBX_AVX2))
        return false;
    xcr0 = read_xcr0();
    if (level == CPU_AVX2)
        return has_all(xcr0, XCR0_AVX);
    return has_all(xcr0, XCR0_AVX512) && has_all(ebx7, avx512_ebx7) && has_all(ecx7, LEAF7_ECX_AVX512VNNI);
}

bool cpu_multiplies_bf16(void)
{
    uint32_t a, b, c, d;

    return cpu_supports(CPU_AVX512) && __get_cpuid_count(7, 1, &a, &b, &c, &d) && has_all(a, LEAF7_1_EAX_AVX512BF16);
}

#else

bool cpu_supports(cpu_level level)
{
    return level == CPU_GENERIC;
}

bool cpu_multiplies_bf16(void)
{
    return false;
}

#endif

static cpu_level find_level(void)
{
    const char *wish = getenv("AIGC_CPU");
    cpu_level best = CPU_GENERIC;

    for (int level = CPU_GENERIC; level < CPU_LEVELS; level++) {
        if (!cpu_supports(level))
            continue;
        if (wish && strcmp(wish, level_names[level]) == 0)
            return level;
        best = level;
    }
    return best;
}

cpu_level cpu_best_level(void)
{
    static atomic_int found = -1; /* threads that come at once find the same level */
    int level = atomic_load_explicit(&found, memory_order_relaxed);

    if (level < 0) {
        level = find_level();
        atomic_store_explicit(&found, level, memory_order_relaxed);
    }
    return level;
}

/* ---- cores ---- */

/* Cores of the affinity mask, or 0 if it can't be read. */
static int affinity_count(void)
{
    for (int n = 1024; n <= 1 << 20; n *= 2) { /* the kernel refuses (EINVAL) a mask smaller than its own */
        cpu_set_t *set = CPU_ALLOC(n);
        size_t size = CPU_ALLOC_SIZE(n);
        int count = 0, error = 0;

        if (!set)
            return 0;
        if (sched_getaffinity(0, size, set) == 0)
            count = CPU_COUNT_S(size, set);
        else
            error = errno;
        CPU_FREE(set);
        if (error != EINVAL)
            return count;
    }
    return 0;
}

static bool read_line(const char *path, char *line, int size)
{
    FILE *f = fopen(path, "re");
    bool read = f && fgets(line, size, f);

    if (f)
        fclose(f);
    return read;
}

/* Cores that a directory of the cgroup file system allows, rounded up; 0: no limit, or no such directory. */
static int directory_quota(const char *directory, bool v2)
{
    char path[4096 + 64], line[64];
    long long quota = -1, period = 0;

    if (v2) {
        snprintf(path, sizeof path, "%s/cpu.max", directory); /* "max 100000" or "150000 100000" */
        if (!read_line(path, line, sizeof line) || sscanf(line, "%lld %lld", &quota, &period) != 2)
            return 0;
    } else {
        snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", directory); /* -1: no limit */
        if (!read_line(path, line, sizeof line) || sscanf(line, "%lld", &quota) != 1)
            return 0;
        snprintf(path, sizeof path, "%s/cpu.cfs_period_us", directory);
        if (!read_line(path, line, sizeof line) || sscanf(line, "%lld", &period) != 1)
            return 0;
    }
    if (quota <= 0 || period <= 0 || quota / period >= 1 << 20)
        return 0;
    return (int)((quota + period - 1) / period);
}

/* The smallest quota of a cgroup and those it lies in. In a container the path may name directories that only the host
 * sees, while the mount point is the container's own cgroup: what is missing is passed over. */
static int hierarchy_quota(const char *mount, const char *group, bool v2)
{
    char directory[4096];
    size_t root = strlen(mount);
    int least = 0;

    snprintf(directory, sizeof directory, "%s%s", mount, group);
    for (;;) {
        int quota = directory_quota(directory, v2);
        char *slash = strrchr(directory, '/');

        if (quota > 0 && (least == 0 || quota < least))
            least = quota;
        if (!slash || (size_t)(slash - directory) < root)
            return least;
        *slash = '\0';
    }
}

/* Whether a comma-separated list holds "cpu". */
static bool lists_cpu(const char *list)
{
    for (const char *p = list; (p = strstr(p, "cpu")); p += 3)
        if ((p == list || p[-1] == ',') && (p[3] == '\0' || p[3] == ','))
            return true;
    return false;
}

/* Cores that the process's cgroups allow, or 0 for no limit. Lines of /proc/self/cgroup are number:controllers:path,
 * version 2 having number 0 and no controllers. */
static int cgroup_quota(void)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[4096];
    int least = 0;

    if (!f)
        return 0;
    while (fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        int quota = 0;

        if (!path)
            continue;
        *controllers++ = '\0';
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        if (strcmp(line, "0") == 0)
            quota = hierarchy_quota("/sys/fs/cgroup", path, true);
        else if (lists_cpu(controllers))
            quota = hierarchy_quota("/sys/fs/cgroup/cpu", path, false);
        if (quota > 0 && (least == 0 || quota < least))
            least = quota;
    }
    fclose(f);
    return least;
}

int cpu_count(void)
{
    int count = affinity_count(), quota = cgroup_quota();

    if (count < 1) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);

        count = online > 0 && online < 1 << 20 ? (int)online : 1;
    }
    return quota > 0 && quota < count ? quota : count;
}
