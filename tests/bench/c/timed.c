// SPDX-License-Identifier: Apache-2.0 OR MIT
// Runs a command and reports what it needed, of which the caller would otherwise be a part: a
// small process has little memory that its child could begin with.
//
//   timed FILE COMMAND [WORD...]
//
// What the command prints goes to the file. Prints "@val wall_us N", "@val cpu_us N" and
// "@val rss_kib N", and ends with the command's status.
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static double micros(struct timeval time)
{
    return time.tv_sec * 1e6 + time.tv_usec;
}

int main(int count, char **words)
{
    struct rusage used;
    int status;

    if (count < 3)
        return 2;
    int out = open(words[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (out < 0) {
        perror(words[1]);
        return 1;
    }
    double begun = now();
    pid_t child = vfork();

    if (child == 0) {
        dup2(out, STDOUT_FILENO);
        execvp(words[2], words + 2);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &used) < 0) {
        perror("timed");
        return 1;
    }
    double wall = now() - begun;

    printf("@val wall_us %f\n@val cpu_us %f\n@val rss_kib %ld\n", wall,
           micros(used.ru_utime) + micros(used.ru_stime), used.ru_maxrss);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
