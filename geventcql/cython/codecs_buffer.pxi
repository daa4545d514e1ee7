# Bytes in C: big-endian loads and stores, vints, a write buffer, objects made without their constructors, murmur3.

cdef extern from *:
    """
    #include <structmember.h>
    #include <arpa/inet.h>
    #include <stdint.h>
    #include <string.h>

    /* Shifts instead of pointer casts: no alignment, aliasing or byte order is assumed, and compilers make one load. */
    static inline uint16_t load16(const char *p) {
        const unsigned char *b = (const unsigned char *)p;
        return (uint16_t)(b[0] << 8 | b[1]);
    }
    static inline uint32_t load32(const char *p) {
        const unsigned char *b = (const unsigned char *)p;
        return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    }
    static inline uint64_t load64(const char *p) {
        return (uint64_t)load32(p) << 32 | load32(p + 4);
    }
    static inline uint64_t load64_little(const char *p) {
        const unsigned char *b = (const unsigned char *)p;
        return (uint64_t)b[7] << 56 | (uint64_t)b[6] << 48 | (uint64_t)b[5] << 40 | (uint64_t)b[4] << 32
             | (uint64_t)b[3] << 24 | (uint64_t)b[2] << 16 | (uint64_t)b[1] << 8 | b[0];
    }
    static inline void store16(char *p, uint16_t v) {
        p[0] = (char)(v >> 8); p[1] = (char)v;
    }
    static inline void store32(char *p, uint32_t v) {
        p[0] = (char)(v >> 24); p[1] = (char)(v >> 16); p[2] = (char)(v >> 8); p[3] = (char)v;
    }
    static inline void store64(char *p, uint64_t v) {
        store32(p, (uint32_t)(v >> 32)); store32(p + 4, (uint32_t)v);
    }
    static inline float float_of(uint32_t bits) { float f; memcpy(&f, &bits, 4); return f; }
    static inline double double_of(uint64_t bits) { double d; memcpy(&d, &bits, 8); return d; }
    static inline uint32_t bits_of_float(float f) { uint32_t bits; memcpy(&bits, &f, 4); return bits; }
    static inline uint64_t bits_of_double(double d) { uint64_t bits; memcpy(&bits, &d, 8); return bits; }
    static inline uint64_t rotate_left(uint64_t x, int n) { return x << n | x >> (64 - n); }

    /* Where instances of a class keep the slot that `descriptor` (Class.slot) stands for. */
    static Py_ssize_t slot_offset(PyObject *descriptor) {
        if (!Py_IS_TYPE(descriptor, &PyMemberDescr_Type)) {
            PyErr_Format(PyExc_TypeError, "%R is not a slot", descriptor);
            return -1;
        }
        return ((PyMemberDescrObject *)descriptor)->d_member->offset;
    }
    static inline void set_slot(PyObject *instance, Py_ssize_t offset, PyObject *value) {
        Py_INCREF(value);
        *(PyObject **)((char *)instance + offset) = value;
    }
    /* NULL if the slot is empty; borrowed. */
    static inline PyObject *get_slot(PyObject *instance, Py_ssize_t offset) {
        return *(PyObject **)((char *)instance + offset);
    }
    static inline PyObject *new_instance(PyObject *cls) {
        return ((PyTypeObject *)cls)->tp_alloc((PyTypeObject *)cls, 0);
    }
    /* One that the garbage collector need not visit: only for what is never part of a cycle. */
    static inline PyObject *new_leaf(PyObject *cls) {
        PyObject *instance = new_instance(cls);
        if (instance != NULL) PyObject_GC_UnTrack(instance);
        return instance;
    }
    static inline int has_dict(PyObject *cls) { return ((PyTypeObject *)cls)->tp_dictoffset != 0; }
    /* An instance of a tuple's subclass with `n` empty places. */
    static inline PyObject *new_tuple_instance(PyObject *cls, Py_ssize_t n) {
        PyObject *row = ((PyTypeObject *)cls)->tp_alloc((PyTypeObject *)cls, n);
    #if PY_VERSION_HEX >= 0x030E0000
        if (row != NULL) ((PyTupleObject *)row)->ob_hash = -1;
    #endif
        return row;
    }
    static inline PyObject *long_of_bytes(const char *p, Py_ssize_t n, int is_signed) {
        return _PyLong_FromByteArray((const unsigned char *)p, (size_t)n, 0, is_signed);
    }
    static inline int ipv4_of_text(const char *text, char *p) {
        struct in_addr address;
        if (!inet_aton(text, &address)) return 0;
        memcpy(p, &address.s_addr, 4);
        return 1;
    }
    /* Sixteen bytes of a non-negative int; -1 and OverflowError if it has more. */
    static inline int bytes16_of_long(PyObject *value, char *p) {
    #if PY_VERSION_HEX >= 0x030D0000
        return _PyLong_AsByteArray((PyLongObject *)value, (unsigned char *)p, 16, 0, 0, 1);
    #else
        return _PyLong_AsByteArray((PyLongObject *)value, (unsigned char *)p, 16, 0, 0);
    #endif
    }
    """
    uint16_t load16(const char *p) nogil
    uint32_t load32(const char *p) nogil
    uint64_t load64(const char *p) nogil
    uint64_t load64_little(const char *p) nogil
    void store16(char *p, uint16_t v) nogil
    void store32(char *p, uint32_t v) nogil
    void store64(char *p, uint64_t v) nogil
    float float_of(uint32_t bits) nogil
    double double_of(uint64_t bits) nogil
    uint32_t bits_of_float(float f) nogil
    uint64_t bits_of_double(double d) nogil
    uint64_t rotate_left(uint64_t x, int n) nogil
    Py_ssize_t slot_offset(object descriptor) except -1
    void set_slot(object instance, Py_ssize_t offset, object value)
    PyObject *get_slot(object instance, Py_ssize_t offset)
    object new_instance(object cls)
    object new_leaf(object cls)
    bint has_dict(object cls)
    object new_tuple_instance(object cls, Py_ssize_t n)
    object long_of_bytes(const char *p, Py_ssize_t n, int is_signed)
    int bytes16_of_long(object value, char *p) except -1
    bint PyUnicode_IS_ASCII(object text)
    enum: AF_INET
    enum: AF_INET6
    const char *inet_ntop(int family, const void *src, char *dst, unsigned int size)
    int inet_pton(int family, const char *src, void *dst)
    int ipv4_of_text(const char *src, char *dst)

cdef enum:
    INLINE = 512  # bytes that a Writer has before it asks malloc
    LONGEST = 0x10000000  # bytes of a frame (protocol section 2), hence of any value


cdef struct Writer:
    char *data
    Py_ssize_t size
    Py_ssize_t room
    bint owned  # data came from malloc, not from the stack of the caller


cdef int grow(Writer *w, Py_ssize_t n) except -1:
    """Make room for `n` more bytes."""
    cdef Py_ssize_t room
    cdef char *data
    if n > LONGEST - w.size:
        raise ValueError("longer than 256 MiB when encoded")
    room = min(2 * (w.size + n), LONGEST)
    data = <char *>realloc(w.data if w.owned else NULL, room)
    if data == NULL:
        raise MemoryError()
    if not w.owned:
        memcpy(data, w.data, w.size)
    w.data = data
    w.room = room
    w.owned = True
    return 0


cdef inline char *advance(Writer *w, Py_ssize_t n) except NULL:
    """Append `n` bytes, which the caller fills; the pointer holds until the next call."""
    cdef char *p
    if w.room - w.size < n:
        grow(w, n)
    p = w.data + w.size
    w.size += n
    return p


cdef inline int append(Writer *w, const char *data, Py_ssize_t n) except -1:
    memcpy(advance(w, n), data, n)
    return 0


cdef inline int vint_length(uint64_t v) noexcept nogil:
    """How many bytes the unsigned vint `v` takes, 1 to 9 (protocol section 3, [unsigned vint])."""
    cdef int n = 1
    while n < 9 and v >> (7 * n):
        n += 1
    return n


cdef int write_vint(Writer *w, uint64_t v) except -1:
    """An unsigned vint: as many leading one bits as bytes follow the first, then the value, most significant first."""
    cdef int n = vint_length(v)
    cdef int i
    cdef char *p = advance(w, n)
    for i in range(n - 1, -1, -1):
        p[i] = <char>v
        v >>= 8
    p[0] |= <char>(0xFF00 >> (n - 1))
    return 0


cdef Py_ssize_t read_vint(const char *p, Py_ssize_t n, uint64_t *v) noexcept nogil:
    """Read an unsigned vint from the `n` bytes at `p`; returns how many it took, 0 if they end before it does."""
    cdef unsigned char first
    cdef int extra = 0
    cdef int i
    if n < 1:
        return 0
    first = <unsigned char>p[0]
    while extra < 8 and first & (0x80 >> extra):
        extra += 1
    if n < 1 + extra:
        return 0
    v[0] = first & (0xFF >> extra)
    for i in range(1, extra + 1):
        v[0] = v[0] << 8 | <unsigned char>p[i]
    return 1 + extra


cdef inline uint64_t zigzag(int64_t v) noexcept nogil:
    return (<uint64_t>v << 1) ^ <uint64_t>(v >> 63)


cdef inline int64_t unzigzag(uint64_t v) noexcept nogil:
    return <int64_t>((v >> 1) ^ (0 - (v & 1)))


cdef inline uint64_t signed_byte(const char *p, int shift) noexcept nogil:
    """A byte of the tail, sign-extended as Java's `(long) byte` is: where Cassandra's murmur3 leaves the standard."""
    return <uint64_t><int64_t><signed char>p[0] << shift


cdef inline uint64_t final_mix(uint64_t k) noexcept nogil:
    k ^= k >> 33
    k *= <uint64_t>0xFF51AFD7ED558CCD
    k ^= k >> 33
    k *= <uint64_t>0xC4CEB9FE1A85EC53
    return k ^ (k >> 33)


cdef int64_t murmur3(const char *key, Py_ssize_t size) noexcept nogil:
    """The token of a partition key: first half of murmur3 x64 128 (Cassandra: MurmurHash.hash3_x64_128, normalize)."""
    cdef uint64_t c1 = 0x87C37B91114253D5
    cdef uint64_t c2 = 0x4CF5AD432745937F
    cdef uint64_t h1 = 0, h2 = 0, k1, k2
    cdef const char *p = key
    cdef int i, tail = size & 15
    for _ in range(size >> 4):
        k1 = load64_little(p)
        k2 = load64_little(p + 8)
        p += 16
        h1 ^= rotate_left(k1 * c1, 31) * c2
        h1 = (rotate_left(h1, 27) + h2) * 5 + 0x52DCE729
        h2 ^= rotate_left(k2 * c2, 33) * c1
        h2 = (rotate_left(h2, 31) + h1) * 5 + 0x38495AB5
    k1 = k2 = 0
    for i in range(tail):
        if i < 8:
            k1 ^= signed_byte(p + i, 8 * i)
        else:
            k2 ^= signed_byte(p + i, 8 * (i - 8))
    h2 ^= rotate_left(k2 * c2, 33) * c1
    h1 ^= rotate_left(k1 * c1, 31) * c2
    h1 ^= <uint64_t>size
    h2 ^= <uint64_t>size
    h1 += h2
    h2 += h1
    h1 = final_mix(h1) + final_mix(h2)
    # The lowest long is the minimum token, which no key has.
    return <int64_t>h1 if h1 != <uint64_t>1 << 63 else 0x7FFFFFFFFFFFFFFF
