/* Asks the original parser, Globus RSL (Debian: libglobus-rsl-dev). Each line of standard input is one text in
 * hexadecimal; the answer is one line: "rejected", "accepted" and the original's own writing of it, in hexadecimal
 * too, or "died". Each text has a process of its own: the original's scanner keeps its state over a failure, so
 * that a rejected text spoils the next. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "globus_common.h"
#include "globus_rsl.h"

static int digit(int c)
{
    return c >= 'a' ? c - 'a' + 10 : c - '0';
}

static void answer(char *text)
{
    globus_rsl_t *spec = globus_rsl_parse(text);
    if (spec == NULL) {
        puts("rejected");
        return;
    }
    char *written = globus_rsl_unparse(spec);
    fputs("accepted ", stdout);
    for (const char *at = written ? written : ""; *at; at++)
        printf("%02x", (unsigned char) *at);
    puts("");
}

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    globus_module_activate(GLOBUS_COMMON_MODULE);
    globus_module_activate(GLOBUS_RSL_MODULE);
    while ((length = getline(&line, &room, stdin)) > 0) {
        size_t bytes = (size_t) length / 2;
        char *text = malloc(bytes + 1);
        for (size_t i = 0; i < bytes; i++)
            text[i] = (char) (digit(line[2 * i]) << 4 | digit(line[2 * i + 1]));
        text[bytes] = 0;
        int status = 0;
        pid_t child = fork();
        if (child == 0) {
            answer(text);
            fflush(stdout);
            _exit(0);
        }
        if (child < 0 || waitpid(child, &status, 0) < 0)
            return 1;
        if (!WIFEXITED(status))
            puts("died");
        fflush(stdout);
        free(text);
    }
    free(line);
    return 0;
}
