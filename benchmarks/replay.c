/* replay: a caching CQL proxy, so fast that the client before it is what a benchmark measures.
 *
 *   replay LISTEN_IP LISTEN_PORT UPSTREAM_IP UPSTREAM_PORT [MAX_VERSION]
 *   build: cc -O2 -o replay replay.c -lz -lpthread
 *
 * A QUERY, PREPARE, EXECUTE or BATCH seen for the first time goes to the real server; its answer is kept and
 * replayed from then on. What makes two requests the same is in request_key(): bound values are not part of it,
 * so a write reaches the real server once, and a read always answers with the rows of its first values.
 * Errors are passed on and never kept.
 *
 * Protocol v3, v4 and v5 (v5 with segments and both of their checksums), uncompressed, no authentication.
 * Each answer travels in a segment of its own, which is the dear case for a v5 client: a real server packs several.
 * When it listens it prints one line, "listening IP PORT"; port 0 takes a free one. One thread per connection,
 * each with its own upstream connection; the cache is shared, and its readers take no lock.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

enum { ERROR = 0, STARTUP = 1, READY = 2, OPTIONS = 5, SUPPORTED = 6, QUERY = 7, PREPARE = 9, EXECUTE = 10,
       REGISTER = 11, BATCH = 13 };
enum { F_VALUES = 0x01, F_SKIP_METADATA = 0x02, F_PAGE_SIZE = 0x04, F_PAGING_STATE = 0x08, F_SERIAL = 0x10,
       F_TIMESTAMP = 0x20, F_NAMES = 0x40, F_KEYSPACE = 0x80 };
enum { HEADER = 9, SEGMENT_HEADER = 6, SEGMENT_TRAILER = 4, SEGMENT_MAX = 131071, MIN_VERSION = 3 };
enum { HEADER_FLAG_COMPRESSED = 0x01, CODE_SERVER = 0x0000, CODE_PROTOCOL = 0x000A };
#define ENVELOPE_MAX (256u << 20) /* native_transport_max_frame_size is far below: more is not CQL */

static const char *upstream_ip;
static int upstream_port, max_version = 5;

/* ---- growing buffers ---------------------------------------------------------------------------------------- */

typedef struct { uint8_t *p; size_t n, cap; } buf;

static void buf_need(buf *b, size_t more) {
    if (b->n + more <= b->cap) return;
    b->cap = (b->n + more) * 2 + 4096;
    b->p = realloc(b->p, b->cap);
    if (!b->p) { perror("realloc"); exit(1); }
}
static void put(buf *b, const void *p, size_t n) {
    if (!n) return;
    buf_need(b, n);
    memcpy(b->p + b->n, p, n);
    b->n += n;
}
static void put_u16(buf *b, uint32_t v) { uint8_t x[2] = {v >> 8, v}; put(b, x, 2); }
static void put_u32(buf *b, uint32_t v) { uint8_t x[4] = {v >> 24, v >> 16, v >> 8, v}; put(b, x, 4); }
static void put_string(buf *b, const char *s) { put_u16(b, strlen(s)); put(b, s, strlen(s)); }
static void buf_drop(buf *b, size_t n) { memmove(b->p, b->p + n, b->n - n); b->n -= n; }

static uint32_t get_u16(const uint8_t *p) { return (uint32_t)p[0] << 8 | p[1]; }
static uint32_t get_u32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }
static uint32_t get_u24le(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16; }

/* ---- v5 segments (native_protocol_v5.spec, section 2.2) ------------------------------------------------------ */

static uint32_t crc24_table[256];

static void crc24_init(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte << 16;
        for (int bit = 0; bit < 8; bit++) { crc <<= 1; if (crc & 0x1000000) crc ^= 0x1974F0B; }
        crc24_table[byte] = crc & 0xffffff;
    }
}
static uint32_t crc24(const uint8_t *p, int n) {
    uint32_t crc = 0x875060;
    while (n--) crc = ((crc << 8) ^ crc24_table[(crc >> 16 ^ *p++) & 0xff]) & 0xffffff;
    return crc;
}
static uint32_t payload_crc(const uint8_t *p, size_t n) { /* CRC32 that first takes in four fixed bytes */
    static const uint8_t seed[4] = {0xfa, 0x2d, 0x55, 0xca};
    return crc32(crc32(crc32(0, NULL, 0), seed, 4), p, n);
}
static void put_segment(buf *out, const uint8_t *p, uint32_t n, int self_contained) {
    uint32_t facts = n | (uint32_t)self_contained << 17;
    uint8_t head[SEGMENT_HEADER] = {facts, facts >> 8, facts >> 16};
    uint32_t crc = crc24(head, 3);
    head[3] = crc; head[4] = crc >> 8; head[5] = crc >> 16;
    put(out, head, sizeof head);
    put(out, p, n);
    crc = payload_crc(p, n);
    uint8_t tail[SEGMENT_TRAILER] = {crc, crc >> 8, crc >> 16, crc >> 24};
    put(out, tail, sizeof tail);
}
static void put_segments(buf *out, const uint8_t *p, size_t n) { /* one envelope, in as many segments as it takes */
    if (n <= SEGMENT_MAX) { put_segment(out, p, n, 1); return; }
    for (size_t at = 0; at < n; at += SEGMENT_MAX) put_segment(out, p + at, n - at < SEGMENT_MAX ? n - at : SEGMENT_MAX, 0);
}
/* The payload length of a whole, sound segment at p; -1 when more bytes are needed, -2 when a checksum is wrong. */
static int64_t check_segment(const uint8_t *p, size_t n) {
    if (n < SEGMENT_HEADER) return -1;
    if (crc24(p, 3) != get_u24le(p + 3)) return -2;
    uint32_t length = get_u24le(p) & SEGMENT_MAX;
    if (n < (size_t)SEGMENT_HEADER + length + SEGMENT_TRAILER) return -1;
    const uint8_t *tail = p + SEGMENT_HEADER + length;
    uint32_t want = get_u24le(tail) | (uint32_t)tail[3] << 24;
    return want == payload_crc(p + SEGMENT_HEADER, length) ? (int64_t)length : -2;
}

/* ---- blocking socket reads and writes ------------------------------------------------------------------------ */

static int read_full(int fd, void *to, size_t n) {
    for (uint8_t *p = to; n;) {
        ssize_t got = read(fd, p, n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return -1;
        p += got; n -= got;
    }
    return 0;
}
static int write_full(int fd, const void *from, size_t n) {
    for (const uint8_t *p = from; n;) {
        ssize_t sent = write(fd, p, n);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return -1;
        p += sent; n -= sent;
    }
    return 0;
}
static void no_delay(int fd) { int one = 1; setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); }

/* ---- which requests are the same ----------------------------------------------------------------------------- */

typedef struct { uint8_t version, flags, opcode; uint16_t stream; const uint8_t *body; uint32_t n; } request;
typedef struct { const uint8_t *p, *end; int bad; } cursor; /* a checked reader: bad once anything was missing */

static const uint8_t *take(cursor *c, uint32_t n) {
    if (c->bad || (size_t)(c->end - c->p) < n) { c->bad = 1; return NULL; }
    const uint8_t *at = c->p;
    c->p += n;
    return at;
}
static uint32_t take_u16(cursor *c) { const uint8_t *p = take(c, 2); return p ? get_u16(p) : 0; }
static uint32_t take_u32(cursor *c) { const uint8_t *p = take(c, 4); return p ? get_u32(p) : 0; }
static void key_part(buf *key, cursor *c, uint32_t n) { /* n bytes, behind their length so that parts cannot run together */
    const uint8_t *p = take(c, n);
    if (p) { put_u32(key, n); put(key, p, n); }
}
static void skip_values(cursor *c, uint32_t flags) {
    for (uint32_t left = take_u16(c); left-- && !c->bad;) {
        if (flags & F_NAMES) take(c, take_u16(c));
        int32_t length = (int32_t)take_u32(c);
        if (length > 0) take(c, length);
    }
}
/* The key of a request: version, tracing and the like, opcode; then the text or the prepared id with the result
 * metadata id (v5), whether metadata is to be skipped, page size, paging state and keyspace. Consistency, bound
 * values and timestamps are left out. Returns 0, or -1 for a body that is not what its opcode says. */
static int request_key(buf *key, const request *r) {
    cursor c = {r->body, r->body + r->n, 0};
    uint8_t head[3] = {r->version, r->flags & ~HEADER_FLAG_COMPRESSED, r->opcode};
    key->n = 0;
    put(key, head, sizeof head);
    if (r->opcode == BATCH) return 0; /* any batch answers like the first one: void */
    if (r->opcode == PREPARE) { key_part(key, &c, r->n); return 0; }
    if (r->opcode == QUERY) key_part(key, &c, take_u32(&c));
    else {
        key_part(key, &c, take_u16(&c));
        if (r->version >= 5) key_part(key, &c, take_u16(&c));
    }
    take_u16(&c); /* consistency */
    uint32_t flags;
    if (r->version >= 5) flags = take_u32(&c);
    else { const uint8_t *p = take(&c, 1); flags = p ? *p : 0; }
    put_u32(key, flags & (F_SKIP_METADATA | F_PAGE_SIZE | F_PAGING_STATE | F_KEYSPACE));
    if (flags & F_VALUES) skip_values(&c, flags);
    if (flags & F_PAGE_SIZE) key_part(key, &c, 4);
    if (flags & F_PAGING_STATE) { int32_t n = (int32_t)take_u32(&c); if (n > 0) key_part(key, &c, n); }
    if (flags & F_SERIAL) take_u16(&c);
    if (flags & F_TIMESTAMP) take(&c, 8);
    if (flags & F_KEYSPACE && r->version >= 5) key_part(key, &c, take_u16(&c));
    return c.bad ? -1 : 0;
}

/* ---- the cache: a hash table of lists that only ever grow at their head --------------------------------------- */

typedef struct entry {
    struct entry *next;
    uint8_t *key; size_t key_n;
    uint8_t opcode, flags;
    uint8_t *body; uint32_t body_n;
} entry;

enum { BUCKETS = 65536 };
static _Atomic(entry *) cache[BUCKETS];
static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER;

static unsigned bucket_of(const buf *key) { /* FNV-1a */
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < key->n; i++) h = (h ^ key->p[i]) * 16777619u;
    return (h ^ h >> 16) % BUCKETS;
}
static entry *cache_find(const buf *key, unsigned bucket) {
    entry *e = atomic_load_explicit(&cache[bucket], memory_order_acquire);
    while (e && (e->key_n != key->n || memcmp(e->key, key->p, key->n))) e = e->next;
    return e;
}
static void cache_add(entry *e, const buf *key, unsigned bucket) {
    e->key = malloc(key->n);
    e->key_n = key->n;
    memcpy(e->key, key->p, key->n);
    pthread_mutex_lock(&cache_lock); /* two threads may add the same request: the newer one is found first */
    e->next = atomic_load_explicit(&cache[bucket], memory_order_relaxed);
    atomic_store_explicit(&cache[bucket], e, memory_order_release);
    pthread_mutex_unlock(&cache_lock);
}
static void entry_free(entry *e) { free(e->body); free(e); }

/* ---- the real server ------------------------------------------------------------------------------------------ */

typedef struct { int fd, version; buf segments; } upstream; /* segments: payload received and not yet read, v5 only */

static void upstream_close(upstream *u) { if (u->fd >= 0) close(u->fd); u->fd = -1; u->segments.n = 0; }

static int upstream_read(upstream *u, int segmented, uint8_t *to, size_t n) {
    if (!segmented) return read_full(u->fd, to, n);
    while (u->segments.n < n) {
        uint8_t head[SEGMENT_HEADER];
        if (read_full(u->fd, head, sizeof head)) return -1;
        if (crc24(head, 3) != get_u24le(head + 3)) { fprintf(stderr, "upstream: wrong CRC24\n"); return -1; }
        uint32_t length = get_u24le(head) & SEGMENT_MAX;
        buf_need(&u->segments, length + SEGMENT_TRAILER);
        if (read_full(u->fd, u->segments.p + u->segments.n, length + SEGMENT_TRAILER)) return -1;
        u->segments.n += length;
    }
    memcpy(to, u->segments.p, n);
    buf_drop(&u->segments, n);
    return 0;
}
static entry *upstream_ask(upstream *u, int segmented, const request *r) {
    buf out = {0};
    uint8_t head[HEADER] = {r->version, r->flags & ~HEADER_FLAG_COMPRESSED, 0, 1, r->opcode,
                            r->n >> 24, r->n >> 16, r->n >> 8, r->n};
    put(&out, head, HEADER);
    put(&out, r->body, r->n);
    if (segmented) { buf s = {0}; put_segments(&s, out.p, out.n); free(out.p); out = s; }
    int bad = write_full(u->fd, out.p, out.n);
    free(out.p);
    if (bad || upstream_read(u, segmented, head, HEADER) || get_u32(head + 5) > ENVELOPE_MAX) return NULL;
    entry *e = calloc(1, sizeof *e);
    e->opcode = head[4];
    e->flags = head[1];
    e->body_n = get_u32(head + 5);
    e->body = malloc((size_t)e->body_n + 1);
    if (upstream_read(u, segmented, e->body, e->body_n)) { entry_free(e); return NULL; }
    return e;
}
static int upstream_open(upstream *u, int version) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(upstream_port)};
    inet_pton(AF_INET, upstream_ip, &to.sin_addr);
    u->version = version;
    u->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (u->fd < 0 || connect(u->fd, (void *)&to, sizeof to)) { perror("upstream"); return -1; }
    no_delay(u->fd);
    buf body = {0};
    put_u16(&body, 1);
    put_string(&body, "CQL_VERSION");
    put_string(&body, "3.0.0");
    request startup = {.version = version, .opcode = STARTUP, .body = body.p, .n = body.n};
    entry *answer = upstream_ask(u, 0, &startup); /* v5 starts its segments after READY */
    free(body.p);
    int ready = answer && answer->opcode == READY;
    if (!ready) fprintf(stderr, "upstream: STARTUP of v%d answered with opcode %d\n", version, answer ? answer->opcode : -1);
    if (answer) entry_free(answer);
    return ready ? 0 : -1;
}
/* One request to the real server and its answer; NULL when that failed. A client that changes its protocol version
 * on one connection is nothing real, but costs only a reconnect here. */
static entry *forward(upstream *u, const request *r) {
    if (u->fd >= 0 && u->version != r->version) upstream_close(u);
    entry *e = NULL;
    if (u->fd >= 0 || !upstream_open(u, r->version)) e = upstream_ask(u, r->version >= 5, r);
    if (!e) upstream_close(u);
    return e;
}

/* ---- answering one client -------------------------------------------------------------------------------------- */

typedef struct {
    int fd, segmented;             /* segmented: v5 and past its STARTUP */
    upstream up;
    buf in, envelopes, out, key, scratch; /* received; v5: unpacked from segments; to send; request key; one answer */
} client;

static void answer(client *c, int version, uint16_t stream, uint8_t opcode, uint8_t flags, const uint8_t *body, uint32_t n) {
    uint8_t head[HEADER] = {0x80 | version, flags, stream >> 8, stream, opcode, n >> 24, n >> 16, n >> 8, n};
    buf *to = &c->out;
    if (c->segmented) { to = &c->scratch; to->n = 0; }
    buf_need(to, HEADER + (size_t)n);
    put(to, head, HEADER);
    put(to, body, n);
    if (c->segmented) put_segments(&c->out, c->scratch.p, c->scratch.n);
}
static void answer_error(client *c, int version, uint16_t stream, uint32_t code, const char *message) {
    buf body = {0};
    put_u32(&body, code);
    put_string(&body, message);
    answer(c, version, stream, ERROR, 0, body.p, body.n);
    free(body.p);
}
static void answer_options(client *c, const request *r) {
    buf body = {0};
    char name[32];
    put_u16(&body, 3);
    put_string(&body, "CQL_VERSION");
    put_u16(&body, 1);
    put_string(&body, "3.4.7");
    put_string(&body, "COMPRESSION");
    put_u16(&body, 0);
    put_string(&body, "PROTOCOL_VERSIONS");
    put_u16(&body, max_version - MIN_VERSION + 1);
    for (int v = MIN_VERSION; v <= max_version; v++) { snprintf(name, sizeof name, "%d/v%d", v, v); put_string(&body, name); }
    answer(c, r->version, r->stream, SUPPORTED, 0, body.p, body.n);
    free(body.p);
}
static void answer_startup(client *c, const request *r) {
    if (memmem(r->body, r->n, "COMPRESSION", 11)) {
        answer_error(c, r->version, r->stream, CODE_PROTOCOL, "replay speaks no compression");
        return;
    }
    answer(c, r->version, r->stream, READY, 0, NULL, 0); /* itself unsegmented, as the specification has it */
    c->segmented = r->version >= 5;
}
static void answer_query(client *c, const request *r) {
    if (request_key(&c->key, r)) {
        answer_error(c, r->version, r->stream, CODE_PROTOCOL, "the request's body is malformed");
        return;
    }
    unsigned bucket = bucket_of(&c->key);
    entry *e = cache_find(&c->key, bucket);
    int cached = e != NULL;
    if (!cached && !(e = forward(&c->up, r))) {
        answer_error(c, r->version, r->stream, CODE_SERVER, "the real server behind replay did not answer");
        return;
    }
    answer(c, r->version, r->stream, e->opcode, e->flags, e->body, e->body_n);
    if (!cached && e->opcode == ERROR) entry_free(e);
    else if (!cached) cache_add(e, &c->key, bucket);
}
static void answer_request(client *c, const request *r) {
    if (r->version < MIN_VERSION || r->version > max_version) { /* in the highest version we have, as Cassandra does */
        char text[128];
        snprintf(text, sizeof text, "Invalid or unsupported protocol version (%d); supported versions are (%d/v%d to %d/v%d)",
                 r->version, MIN_VERSION, MIN_VERSION, max_version, max_version);
        answer_error(c, max_version, r->stream, CODE_PROTOCOL, text);
        return;
    }
    switch (r->opcode) {
    case OPTIONS: answer_options(c, r); break;
    case STARTUP: answer_startup(c, r); break;
    case REGISTER: answer(c, r->version, r->stream, READY, 0, NULL, 0); break; /* and no event ever comes */
    case QUERY: case PREPARE: case EXECUTE: case BATCH: answer_query(c, r); break;
    default: answer_error(c, r->version, r->stream, CODE_PROTOCOL, "replay does not know this opcode");
    }
}

/* ---- one connection --------------------------------------------------------------------------------------------- */

/* Answers the whole envelopes in p; returns how many bytes they took, or -1 when what came is not CQL. With `once`
 * it stops after one, because a STARTUP changes how the bytes behind it are to be read. */
static int64_t serve_envelopes(client *c, const uint8_t *p, size_t n, int once) {
    size_t at = 0;
    while (n - at >= HEADER) {
        const uint8_t *h = p + at;
        uint32_t length = get_u32(h + 5);
        if (h[0] & 0x80 || length > ENVELOPE_MAX) return -1;
        if (n - at - HEADER < length) break;
        request r = {h[0], h[1], h[4], get_u16(h + 2), h + HEADER, length};
        answer_request(c, &r);
        at += HEADER + length;
        if (once) break;
    }
    return at;
}
/* The same for one segment at p: its payload joins what earlier ones left, and whole envelopes are answered. */
static int64_t serve_segment(client *c, const uint8_t *p, size_t n) {
    int64_t length = check_segment(p, n);
    if (length == -1) return 0;
    if (length < 0) { fprintf(stderr, "client: wrong checksum\n"); return -1; }
    put(&c->envelopes, p + SEGMENT_HEADER, length);
    int64_t taken = serve_envelopes(c, c->envelopes.p, c->envelopes.n, 0);
    if (taken < 0) return -1;
    buf_drop(&c->envelopes, taken);
    return SEGMENT_HEADER + length + SEGMENT_TRAILER;
}
static int serve_received(client *c) {
    size_t at = 0;
    int64_t taken;
    do {
        if (c->segmented) taken = serve_segment(c, c->in.p + at, c->in.n - at);
        else taken = serve_envelopes(c, c->in.p + at, c->in.n - at, 1);
        if (taken < 0) return -1;
        at += taken;
    } while (taken);
    buf_drop(&c->in, at);
    return 0;
}
static void *serve_client(void *arg) {
    client c = {.fd = (int)(intptr_t)arg, .up = {.fd = -1}};
    for (;;) {
        buf_need(&c.in, 262144);
        ssize_t got = read(c.fd, c.in.p + c.in.n, c.in.cap - c.in.n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        c.in.n += got;
        c.out.n = 0;
        int bad = serve_received(&c);
        if ((c.out.n && write_full(c.fd, c.out.p, c.out.n)) || bad) break;
    }
    close(c.fd);
    upstream_close(&c.up);
    free(c.in.p); free(c.envelopes.p); free(c.out.p); free(c.key.p); free(c.scratch.p); free(c.up.segments.p);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 5 || argc > 6) {
        fprintf(stderr, "usage: replay LISTEN_IP LISTEN_PORT UPSTREAM_IP UPSTREAM_PORT [MAX_VERSION]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    crc24_init();
    upstream_ip = argv[3];
    upstream_port = atoi(argv[4]);
    if (argc > 5) max_version = atoi(argv[5]);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    socklen_t at_n = sizeof at;
    if (inet_pton(AF_INET, argv[1], &at.sin_addr) != 1) { fprintf(stderr, "%s: not an IPv4 address\n", argv[1]); return 2; }
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&at, at_n) || listen(listener, 512) || getsockname(listener, (void *)&at, &at_n)) {
        perror("listen");
        return 1;
    }
    printf("listening %s %d\n", argv[1], ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) { if (errno != EINTR) usleep(10000); continue; } /* out of descriptors: some will be freed */
        no_delay(fd);
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve_client, (void *)(intptr_t)fd)) { perror("pthread_create"); close(fd); }
        else pthread_detach(thread);
    }
}
