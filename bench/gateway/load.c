// Load generator: one thread, epoll, loopback only. Posts one body over and over to a gateway and reads JSON or SSE.
//
//     load PORT PATH BODYFILE CONNECTIONS WARM_S SECONDS RATE EVENTS [EXTRA_HEADERS]
//
// RATE 0: closed loop on CONNECTIONS. RATE > 0: open loop at RATE requests a second, latency counted from the scheduled
// time, so that waiting for a free connection counts. EVENTS: SSE events that each stream must have (0: not checked).
// First line: the window {"from","until"} in nanoseconds of CLOCK_MONOTONIC, so that a caller can read the CPU clock at
// its ends. Second line: what was counted in the window; times in milliseconds. Requests that end in the window are
// counted; latency is kept only of those that also began in it. A run with errs, non200 or incomplete above 0 is void.
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
typedef long long ll;
static ll now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}
enum { S_IDLE, S_HDR, S_LEN, S_CSIZE, S_CDATA, S_CCRLF, S_TRAIL, S_EOF };
typedef struct {
    int fd, st, conn_ok;
    ll t0, tfirst, tlast;
    char hb[8192];
    int hl;
    ll need;
    int status, close, sse;
    int nl;
    int events;
    char cs[32];
    int csl;
    size_t wo;
    int done;
} K;
static K *k;
static int NC;
static char *req;
static size_t rl;
static int port;
static int ep;
static unsigned *lat, *ttft, *gap;
static size_t nlat, nttft, ngap, cap = 1 << 23;
static ll errs, ok, nevents, incomplete, reconn, bytes, non200;
static int expect_events = 0;
static ll t_meas, t_end;
static void rec(unsigned *a, size_t *n, ll v) {
    if (*n < cap)
        a[(*n)++] = (unsigned)(v / 100);
}
static int cmp(const void *a, const void *b) {
    unsigned x = *(unsigned *)a, y = *(unsigned *)b;
    return x < y ? -1 : x > y;
}
static double pc(unsigned *a, size_t n, double p) {
    if (!n)
        return 0;
    size_t i = p * (n - 1);
    return a[i] / 10000.0;
}
static void conn(K *c) {
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, 4);
    struct sockaddr_in a = {0};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int r = connect(c->fd, (void *)&a, sizeof a);
    if (r < 0 && errno != EINPROGRESS) {
        errs++;
    }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
    c->st = S_IDLE;
}
static void reconnect(K *c) {
    close(c->fd);
    reconn++;
    conn(c);
}
static void sendreq(K *c, ll t0) {
    c->t0 = t0;
    c->tfirst = c->tlast = 0;
    c->st = S_HDR;
    c->hl = 0;
    c->nl = 0;
    c->events = 0;
    c->done = 0;
    c->status = 0;
    c->close = 0;
    c->wo = 0;
    int spins = 0;
    while (c->wo < rl) {
        ssize_t w = write(c->fd, req + c->wo, rl - c->wo);
        if (w < 0) {
            if ((errno == EAGAIN || errno == ENOTCONN) && spins++ < 20000) {
                usleep(20);
                continue;
            }
            if (errno == EPIPE || errno == ECONNRESET) {
                reconnect(c);
                c->t0 = t0;
                c->st = S_HDR;
                c->hl = 0;
                c->wo = 0;
                if (spins++ < 5)
                    continue;
            }
            errs++;
            c->st = S_IDLE;
            return;
        }
        c->wo += w;
    }
}
static void body(K *c, const char *b, ll n, ll t) {
    bytes += n;
    if (!c->tfirst && n > 0) {
        c->tfirst = t;
        if (t > t_meas && c->t0 >= t_meas)
            rec(ttft, &nttft, t - c->t0);
    }
    int ev0 = c->events;
    for (ll i = 0; i < n; i++) {
        if (b[i] == '\n') {
            if (c->nl) {
                c->events++;
                c->nl = 0;
            } else
                c->nl = 1;
        } else if (b[i] != '\r')
            c->nl = 0;
    }
    if (c->events > ev0) {
        if (c->tlast && t > t_meas && c->sse)
            rec(gap, &ngap, t - c->tlast);
        c->tlast = t;
        if (t >= t_meas && t <= t_end)
            nevents += c->events - ev0;
    }
    if (c->sse && memmem(b, n, "[DONE]", 6))
        c->done = 1;
}
static int idle_head = -1;
static int *idn;
static void fin(K *c, ll t);
static void feed(K *c, char *b, ll n, ll t) {
    ll i = 0;
    while (i < n || (c->st == S_LEN && c->need == 0)) {
        switch (c->st) {
        case S_IDLE:
            return;
        case S_HDR: {
            int room = sizeof(c->hb) - 1 - c->hl;
            int m = n - i < room ? n - i : room;
            int old = c->hl;
            memcpy(c->hb + c->hl, b + i, m);
            c->hl += m;
            char *h = memmem(c->hb, c->hl, "\r\n\r\n", 4);
            if (!h) {
                i += m;
                if (c->hl >= (int)sizeof(c->hb) - 1) {
                    errs++;
                    reconnect(c);
                    return;
                }
                break;
            }
            int used = h - c->hb + 4;
            i += used - old;
            *h = 0;
            c->status = atoi(c->hb + 9);
            c->need = -1;
            int ch = 0;
            c->sse = strcasestr(c->hb, "text/event-stream") != 0;
            char *p = strcasestr(c->hb, "\ncontent-length:");
            if (p)
                c->need = atoll(p + 16);
            p = strcasestr(c->hb, "\ntransfer-encoding:");
            if (p && strcasestr(p, "chunked"))
                ch = 1;
            p = strcasestr(c->hb, "\nconnection:");
            if (p && !strncasecmp(p + 12 + strspn(p + 12, " "), "close", 5))
                c->close = 1;
            if (c->status == 100) {
                c->hl = 0;
                break;
            }
            if (ch) {
                c->st = S_CSIZE;
                c->csl = 0;
            } else if (c->need >= 0)
                c->st = S_LEN;
            else
                c->st = S_EOF;
            break;
        }
        case S_LEN: {
            ll m = n - i < c->need ? n - i : c->need;
            body(c, b + i, m, t);
            i += m;
            c->need -= m;
            if (c->need == 0) {
                fin(c, t);
                return;
            }
            break;
        }
        case S_EOF:
            body(c, b + i, n - i, t);
            i = n;
            break;
        case S_CSIZE: {
            char x = b[i++];
            if (x == '\n') {
                c->cs[c->csl] = 0;
                c->need = strtoll(c->cs, 0, 16);
                c->csl = 0;
                c->st = c->need ? S_CDATA : S_TRAIL;
                c->hl = 0;
            } else if (c->csl < 30)
                c->cs[c->csl++] = x;
            break;
        }
        case S_CDATA: {
            ll m = n - i < c->need ? n - i : c->need;
            body(c, b + i, m, t);
            i += m;
            c->need -= m;
            if (!c->need)
                c->st = S_CCRLF, c->csl = 0;
            break;
        }
        case S_CCRLF: {
            if (b[i++] == '\n') {
                c->st = S_CSIZE;
                c->csl = 0;
            }
            break;
        }
        case S_TRAIL: {
            char x = b[i++];
            if (x == '\n') {
                if (c->hl == 0) {
                    fin(c, t);
                    return;
                }
                c->hl = 0;
            } else if (x != '\r')
                c->hl++;
            break;
        }
        }
    }
}
static ll rate;
static ll nexts;
static ll *pendq;
static size_t ph, pt;
static void fin(K *c, ll t) {
    if (t >= t_meas && t <= t_end) {
        if (c->status != 200)
            non200++;
        else {
            ok++;
            if (c->t0 >= t_meas)
                rec(lat, &nlat, t - c->t0);
        }
        if (c->sse && (!c->done || (expect_events && c->events < expect_events)))
            incomplete++;
    }
    c->st = S_IDLE;
    if (c->close)
        reconnect(c);
    if (rate == 0) {
        if (t < t_end)
            sendreq(c, now());
    } else if (ph != pt) {
        ll s = pendq[ph++ & ((1 << 20) - 1)];
        sendreq(c, s);
    } else {
        int id = c - k;
        idn[id] = idle_head;
        idle_head = id;
    }
}
int main(int ac, char **av) {
    if (ac < 9) {
        fprintf(stderr, "usage: load PORT PATH BODYFILE CONNECTIONS WARM_S SECONDS RATE EVENTS [EXTRA_HEADERS]\n");
        return 2;
    }
    port = atoi(av[1]);
    char *path = av[2];
    FILE *f = fopen(av[3], "rb");
    if (!f) {
        perror(av[3]);
        return 1;
    }
    char *bd = malloc(8 << 20);
    size_t bl = fread(bd, 1, 8 << 20, f);
    fclose(f);
    NC = atoi(av[4]);
    double warm = atof(av[5]), secs = atof(av[6]);
    rate = atoll(av[7]);
    expect_events = atoi(av[8]);
    const char *hdr = ac > 9 ? av[9] : "";
    char hd[4096];
    int hn =
        sprintf(hd,
                "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nAccept: "
                "*/*\r\nUser-Agent: load\r\nAuthorization: Bearer sk-test-1234567890\r\n%sContent-Length: %zu\r\n\r\n",
                path, port, hdr, bl);
    req = malloc(hn + bl);
    memcpy(req, hd, hn);
    memcpy(req + hn, bd, bl);
    rl = hn + bl;
    signal(SIGPIPE, SIG_IGN);
    lat = malloc(cap * 4);
    ttft = malloc(cap * 4);
    gap = malloc(cap * 4);
    k = calloc(NC, sizeof(K));
    idn = malloc(NC * sizeof(int));
    pendq = malloc(8 << 20);
    ep = epoll_create1(0);
    for (int i = 0; i < NC; i++)
        conn(&k[i]);
    usleep(100000);
    ll t0 = now();
    t_meas = t0 + warm * 1e9;
    t_end = t_meas + secs * 1e9;
    printf("{\"from\":%lld,\"until\":%lld}\n", t_meas, t_end);
    fflush(stdout);
    int tfd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = 0};
    epoll_ctl(ep, EPOLL_CTL_ADD, tfd, &e);
    struct itimerspec z = {0};
    ll step = rate ? 1000000000LL / rate : 0;
    ll first = t0 + 1000000;
    z.it_value.tv_sec = (rate ? first : t_end) / 1000000000LL;
    z.it_value.tv_nsec = (rate ? first : t_end) % 1000000000LL;
    timerfd_settime(tfd, TFD_TIMER_ABSTIME, &z, 0);
    nexts = first;
    if (rate == 0)
        for (int i = 0; i < NC; i++)
            sendreq(&k[i], now());
    else
        for (int i = NC - 1; i >= 0; i--) {
            idn[i] = idle_head;
            idle_head = i;
        }
    static char buf[262144];
    struct epoll_event E[512];
    for (;;) {
        ll tn = now();
        if (tn > t_end + (rate ? 200000000LL : 0))
            break;
        int n = epoll_wait(ep, E, 512, 100);
        for (int i = 0; i < n; i++) {
            K *c = E[i].data.ptr;
            if (!c) {
                unsigned long long v;
                if (read(tfd, &v, 8)) {
                }
                ll t = now();
                if (rate) {
                    while (nexts <= t && nexts < t_end) {
                        if (idle_head >= 0) {
                            int id = idle_head;
                            idle_head = idn[id];
                            sendreq(&k[id], nexts);
                        } else
                            pendq[pt++ & ((1 << 20) - 1)] = nexts;
                        nexts += step;
                    }
                    if (nexts < t_end) {
                        z.it_value.tv_sec = nexts / 1000000000LL;
                        z.it_value.tv_nsec = nexts % 1000000000LL;
                        timerfd_settime(tfd, TFD_TIMER_ABSTIME, &z, 0);
                    }
                }
                continue;
            }
            ssize_t r = read(c->fd, buf, sizeof buf);
            if (r < 0) {
                if (errno == EAGAIN)
                    continue;
            }
            if (r <= 0) {
                if (c->st == S_EOF) {
                    ll t = now();
                    reconnect(c);
                    c->st = S_EOF;
                    fin(c, t);
                } else if (c->st == S_IDLE) {
                    reconnect(c);
                } else {
                    if (now() >= t_meas)
                        errs++;
                    reconnect(c);
                    if (now() < t_end && rate == 0)
                        sendreq(c, now());
                    else if (rate) {
                        int id = c - k;
                        idn[id] = idle_head;
                        idle_head = id;
                    }
                }
                continue;
            }
            feed(c, buf, r, now());
        }
    }
    qsort(lat, nlat, 4, cmp);
    qsort(ttft, nttft, 4, cmp);
    qsort(gap, ngap, 4, cmp);
    double el = secs;
    printf("{\"ok\":%lld,\"rps\":%.1f,\"errs\":%lld,\"non200\":%lld,\"incomplete\":%lld,\"reconn\":%lld,\"p50\":%.4f,"
           "\"p90\":%.4f,\"p99\":%.4f,\"max\":%.3f,\"ttft50\":%.4f,\"ttft99\":%.4f,\"gap50\":%.4f,\"gap99\":%.4f,"
           "\"eps\":%.1f,\"mb\":%.1f}\n",
           ok, ok / el, errs, non200, incomplete, reconn, pc(lat, nlat, .5), pc(lat, nlat, .9), pc(lat, nlat, .99),
           pc(lat, nlat, 1), pc(ttft, nttft, .5), pc(ttft, nttft, .99), pc(gap, ngap, .5), pc(gap, ngap, .99),
           nevents / el, bytes / 1e6);
    return 0;
}
