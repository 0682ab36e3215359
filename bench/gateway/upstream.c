// Upstream in the place of an engine: one thread, epoll, loopback only, keep-alive, TCP_NODELAY. Never fails.
//
//     upstream PORT [CHUNKS=32] [GAP_MS=5] [JSON_DELAY_MS=0]
//
// POST /v1/chat/completions: a chat completion of 1.0 KB at once, or with "stream": true an SSE stream: a role event,
// CHUNKS content events GAP_MS apart, then usage and [DONE] in one write, so CHUNKS + 3 events. GET /v1/models and
// /metrics for routers that look; sub-paths of chat/completions are 404, so that extra calls are not taken for free.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
typedef struct conn {
    int fd;
    char *buf;
    size_t len, cap;
    int streaming;
    int next;
    unsigned gen;
    int kind;
} conn;
static conn *C[70000];
typedef struct ev {
    long long due;
    int fd;
    unsigned gen;
} ev;
static ev *Q;
static size_t qh = 0, qt = 0, qc = 1 << 20;
static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}
static int NCH = 32;
static long long GAP = 5000000LL, JDELAY = 0;
static int ep, tfd;
static char *jsonresp;
static int jsonlen;
static char **sse;
static int *sselen;
static int nsse;
static char models[512];
static int modelslen;
static char ok200[256];
static int oklen;
static char met[1024];
static int metlen;
static char info[600];
static int infolen;
static void wr(conn *c, const char *b, int n) {
    int o = 0;
    int spin = 0;
    while (o < n) {
        int r = write(c->fd, b + o, n - o);
        if (r <= 0) {
            if (errno == EAGAIN && spin++ < 2000) {
                usleep(50);
                continue;
            }
            return;
        }
        o += r;
    }
}
static void arm(void) {
    if (qh == qt) {
        struct itimerspec z = {0};
        timerfd_settime(tfd, 0, &z, 0);
        return;
    }
    long long d = Q[qh & (qc - 1)].due;
    struct itimerspec z = {0};
    z.it_value.tv_sec = d / 1000000000LL;
    z.it_value.tv_nsec = d % 1000000000LL;
    timerfd_settime(tfd, TFD_TIMER_ABSTIME, &z, 0);
}
static void push(conn *c, long long due) {
    int was = (qh == qt);
    Q[qt & (qc - 1)] = (ev){due, c->fd, c->gen};
    qt++;
    if (was)
        arm();
}
static void closec(conn *c) {
    c->gen++;
    close(c->fd);
    c->len = 0;
    c->streaming = 0;
    c->fd = -1;
}
static void handle(conn *c);
static void process(conn *c) {
    while (!c->streaming && c->len > 0 && c->fd >= 0) {
        size_t before = c->len;
        handle(c);
        if (c->fd < 0 || c->len == before)
            break;
    }
}
static void fire(void) {
    long long t = now_ns();
    while (qh != qt && Q[qh & (qc - 1)].due <= t) {
        ev e = Q[qh & (qc - 1)];
        qh++;
        conn *c = C[e.fd];
        if (!c || c->gen != e.gen || c->fd < 0)
            continue;
        if (c->kind == 1) {
            wr(c, jsonresp, jsonlen);
            c->streaming = 0;
            process(c);
            continue;
        }
        wr(c, sse[c->next], sselen[c->next]);
        c->next++;
        if (c->next < nsse)
            push(c, e.due + GAP);
        else {
            c->streaming = 0;
            process(c);
        }
    }
    arm();
}
static void handle(conn *c) {
    char *h = memmem(c->buf, c->len, "\r\n\r\n", 4);
    if (!h)
        return;
    size_t hl = h - c->buf + 4;
    size_t body = 0;
    size_t total;
    char *bs = c->buf + hl;
    size_t bl = 0;
    int chunked = 0;
    char *p = c->buf;
    while (p < h) {
        char *e = memmem(p, h - p + 2, "\r\n", 2);
        if (!e)
            break;
        if (e - p > 15 && !strncasecmp(p, "content-length:", 15))
            body = strtoul(p + 15, 0, 10);
        else if (e - p > 18 && !strncasecmp(p, "transfer-encoding:", 18))
            chunked = 1;
        p = e + 2;
    }
    if (chunked) {
        size_t o = hl;
        for (;;) {
            char *e = memmem(c->buf + o, c->len - o, "\r\n", 2);
            if (!e)
                return;
            size_t n = strtoul(c->buf + o, 0, 16);
            size_t d = e - c->buf + 2;
            if (c->len < d + n + 2)
                return;
            o = d + n + 2;
            if (n == 0) {
                total = o;
                break;
            }
        }
        bl = total - hl;
    } else {
        if (c->len < hl + body)
            return;
        total = hl + body;
        bl = body;
    }
    if (!strncmp(c->buf, "POST /v1/chat/completions/", 26)) {
        static const char nf[] = "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: "
                                 "22\r\n\r\n{\"detail\":\"Not Found\"}";
        memmove(c->buf, c->buf + total, c->len - total);
        c->len -= total;
        wr(c, nf, sizeof(nf) - 1);
        return;
    }
    if (!strncmp(c->buf, "POST /v1/chat/completions", 25) || !strncmp(c->buf, "POST /chat/completions", 22)) {
        int st = memmem(bs, bl, "\"stream\":true", 13) || memmem(bs, bl, "\"stream\": true", 14);
        memmove(c->buf, c->buf + total, c->len - total);
        c->len -= total;
        if (st) {
            c->streaming = 1;
            c->kind = 0;
            c->next = 0;
            wr(c, sse[0], sselen[0]);
            c->next = 1;
            push(c, now_ns() + GAP);
        } else if (JDELAY) {
            c->streaming = 1;
            c->kind = 1;
            push(c, now_ns() + JDELAY);
        } else
            wr(c, jsonresp, jsonlen);
        return;
    }
    const char *b = ok200;
    int n = oklen;
    if (!strncmp(c->buf, "GET /v1/models", 14)) {
        b = models;
        n = modelslen;
    } else if (!strncmp(c->buf, "GET /metrics", 12)) {
        b = met;
        n = metlen;
    } else if (memmem(c->buf, 40, "info", 4)) {
        b = info;
        n = infolen;
    }
    memmove(c->buf, c->buf + total, c->len - total);
    c->len -= total;
    wr(c, b, n);
}
int main(int ac, char **av) {
    int port = atoi(av[1]);
    if (ac > 2)
        NCH = atoi(av[2]);
    if (ac > 3)
        GAP = atof(av[3]) * 1e6;
    if (ac > 4)
        JDELAY = atof(av[4]) * 1e6;
    signal(SIGPIPE, SIG_IGN);
    Q = malloc(sizeof(ev) * qc);
    const char *js = "{\"id\":\"chatcmpl-8f14e45fceea167a5a36dedd4bea2543\",\"object\":\"chat.completion\",\"created\":"
                     "1762900000,\"model\":\"mock\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
                     "\"content\":\"The capital of France is Paris. It sits on the Seine in the north of the country "
                     "and has been the seat of government, with interruptions, for about a thousand years. Ask if you "
                     "would like a short history or a list of sights worth seeing in two "
                     "days.\",\"refusal\":null,\"annotations\":null,\"audio\":null,\"function_call\":null,\"tool_"
                     "calls\":[],\"reasoning_content\":null},\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_"
                     "reason\":null,\"token_ids\":null}],\"service_tier\":null,\"system_fingerprint\":null,\"usage\":{"
                     "\"prompt_tokens\":143,\"total_tokens\":199,\"completion_tokens\":56,\"prompt_tokens_details\":"
                     "null},\"prompt_logprobs\":null,\"kv_transfer_params\":null}";
    jsonresp = malloc(8192);
    jsonlen = sprintf(jsonresp,
                      "HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 01:00:00 GMT\r\nserver: uvicorn\r\ncontent-type: "
                      "application/json\r\ncontent-length: %zu\r\n\r\n%s",
                      strlen(js), js);
    nsse = NCH + 3;
    sse = malloc(sizeof(char *) * nsse);
    sselen = malloc(sizeof(int) * nsse);
    for (int i = 0; i < nsse; i++) {
        char b[2048];
        if (i == 0)
            sprintf(b, "data: "
                       "{\"id\":\"chatcmpl-8f14e45fceea167a5a36dedd4bea2543\",\"object\":\"chat.completion.chunk\","
                       "\"created\":1762900000,\"model\":\"mock\",\"choices\":[{\"index\":0,\"delta\":{\"role\":"
                       "\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n");
        else if (i <= NCH)
            sprintf(b,
                    "data: "
                    "{\"id\":\"chatcmpl-8f14e45fceea167a5a36dedd4bea2543\",\"object\":\"chat.completion.chunk\","
                    "\"created\":1762900000,\"model\":\"mock\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" "
                    "tok%02d\"},\"logprobs\":null,\"finish_reason\":%s}]}\n\n",
                    i, i == NCH ? "\"stop\"" : "null");
        else if (i == NCH + 1)
            sprintf(b, "data: "
                       "{\"id\":\"chatcmpl-8f14e45fceea167a5a36dedd4bea2543\",\"object\":\"chat.completion.chunk\","
                       "\"created\":1762900000,\"model\":\"mock\",\"choices\":[],\"usage\":{\"prompt_tokens\":143,"
                       "\"total_tokens\":175,\"completion_tokens\":32}}\n\n");
        else
            sprintf(b, "data: [DONE]\n\n");
        sse[i] = malloc(4096);
        const char *hd =
            i == 0 ? "HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 01:00:00 GMT\r\nserver: uvicorn\r\ncontent-type: "
                     "text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
                   : "";
        sselen[i] = sprintf(sse[i], "%s%zx\r\n%s\r\n%s", hd, strlen(b), b, i == nsse - 1 ? "0\r\n\r\n" : "");
    }
    {
        char *m = malloc(8192);
        int n = 0;
        for (int i = NCH + 1; i < nsse; i++) {
            memcpy(m + n, sse[i], sselen[i]);
            n += sselen[i];
        }
        sse[NCH + 1] = m;
        sselen[NCH + 1] = n;
        nsse = NCH + 2;
    }
    const char *mj = "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\",\"created\":1762900000,"
                     "\"owned_by\":\"vllm\",\"root\":\"mock\",\"parent\":null,\"max_model_len\":8192}]}";
    modelslen = sprintf(models, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
                        strlen(mj), mj);
    oklen = sprintf(ok200, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}");
    const char *ij = "{\"model_path\":\"mock\",\"served_model_name\":\"mock\",\"tokenizer_path\":\"mock\",\"is_"
                     "generation\":true,\"version\":\"0.11.0\",\"tp_size\":1,\"dp_size\":1}";
    infolen = sprintf(info, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
                      strlen(ij), ij);
    const char *mt = "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name=\"mock\"} 1.0\n# "
                     "TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{model_name=\"mock\"} 0.0\n# TYPE "
                     "vllm:gpu_cache_usage_perc gauge\nvllm:gpu_cache_usage_perc{model_name=\"mock\"} 0.1\n";
    metlen =
        sprintf(met, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %zu\r\n\r\n%s", strlen(mt), mt);
    int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int one = 1;
    setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, 4);
    struct sockaddr_in a = {0};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(ls, (void *)&a, sizeof a)) {
        perror("bind");
        return 1;
    }
    listen(ls, 4096);
    ep = epoll_create1(0);
    tfd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = ls};
    epoll_ctl(ep, EPOLL_CTL_ADD, ls, &e);
    e.data.fd = tfd;
    epoll_ctl(ep, EPOLL_CTL_ADD, tfd, &e);
    struct epoll_event E[512];
    for (;;) {
        int n = epoll_wait(ep, E, 512, -1);
        for (int i = 0; i < n; i++) {
            int fd = E[i].data.fd;
            if (fd == ls) {
                for (;;) {
                    int c = accept4(ls, 0, 0, SOCK_NONBLOCK);
                    if (c < 0)
                        break;
                    if (c >= 70000) {
                        close(c);
                        continue;
                    }
                    setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, 4);
                    if (!C[c]) {
                        C[c] = calloc(1, sizeof(conn));
                        C[c]->cap = 8192;
                        C[c]->buf = malloc(8192);
                    }
                    C[c]->fd = c;
                    C[c]->len = 0;
                    C[c]->streaming = 0;
                    C[c]->gen++;
                    struct epoll_event x = {.events = EPOLLIN, .data.fd = c};
                    epoll_ctl(ep, EPOLL_CTL_ADD, c, &x);
                }
                continue;
            }
            if (fd == tfd) {
                unsigned long long v;
                if (read(tfd, &v, 8)) {
                }
                fire();
                continue;
            }
            conn *c = C[fd];
            if (!c || c->fd < 0)
                continue;
            if (c->cap - c->len < 4096) {
                c->cap *= 2;
                c->buf = realloc(c->buf, c->cap);
            }
            int r = read(fd, c->buf + c->len, c->cap - c->len);
            if (r <= 0) {
                if (r < 0 && errno == EAGAIN)
                    continue;
                closec(c);
                continue;
            }
            c->len += r;
            process(c);
        }
    }
}
