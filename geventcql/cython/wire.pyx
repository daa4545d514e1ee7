# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The wire's hot half (layer: core): stream ids, the frame and segment splitter, request frames, result pages.

Sans-IO: bytes go in and come out, nothing here knows of sockets, greenlets or time. Runs in whichever greenlet calls it:
the splitter in a connection's reader, frames in the caller of ``execute``, segments in the hub's flush, row decoding
(:meth:`Page.rows`) in the greenlet that looks at the rows.

Sources: the CQL native protocol v3, v4 and v5, sections 2 (framing) and 4.2.5.2 (Rows).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.list cimport PyList_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.math cimport ceil, sqrt
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset

cdef extern from "Python.h":
    int PyGC_Disable()
    int PyGC_Enable()

import uuid
from collections import deque
from collections.abc import Mapping
from time import monotonic, time_ns
from zlib import crc32

from geventcql.cython.codecs import RowDecoder, absent_limit, read_columns, skip_columns
from geventcql.errors import CrcMismatchException, DecodeError, FrameError

cdef enum:
    HEADER = 9
    OP_ERROR = 0x00
    OP_RESULT = 0x08
    OP_EVENT = 0x0C
    FLAG_COMPRESSED = 0x01
    FLAG_TRACING = 0x02
    FLAG_PAYLOAD = 0x04
    FLAG_WARNING = 0x08
    KIND_VOID = 1
    KIND_ROWS = 2
    ROWS_HAS_MORE = 0x02
    ROWS_NO_METADATA = 0x04
    ROWS_METADATA_CHANGED = 0x08
    MAX_PAYLOAD = 131071
    MAX_STREAMS = 32768

MAX_SEGMENT_PAYLOAD = MAX_PAYLOAD
MAX_STREAM_IDS = MAX_STREAMS
DEFAULT_MAX_FRAME = 256 * 1024 * 1024
cdef Py_ssize_t MAX_MESSAGE = 1024 * 1024  # the longest body of other than results and errors, and before the handshake is over
RECEIVE_BUFFER = 256 * 1024

cdef double NEVER = float("inf")
cdef uint32_t CRC32_START = crc32(b"\xfa\x2d\x55\xca")


# ---------------------------------------------------------------------------------------------------------------------
# integers on the wire

cdef inline uint32_t be32(const uint8_t* p) noexcept nogil:
    return (<uint32_t> p[0] << 24) | (<uint32_t> p[1] << 16) | (<uint32_t> p[2] << 8) | p[3]


cdef inline void put32(uint8_t* p, uint32_t v) noexcept nogil:
    p[0] = v >> 24
    p[1] = (v >> 16) & 0xFF
    p[2] = (v >> 8) & 0xFF
    p[3] = v & 0xFF


cdef inline uint64_t little(const uint8_t* p, int n) noexcept nogil:
    cdef uint64_t v = 0
    cdef int i
    for i in range(n):
        v |= <uint64_t> p[i] << (8 * i)
    return v


cdef inline void put_little(uint8_t* p, uint64_t v, int n) noexcept nogil:
    cdef int i
    for i in range(n):
        p[i] = (v >> (8 * i)) & 0xFF


# ---------------------------------------------------------------------------------------------------------------------
# checksums of v5 segments (protocol v5, section 2)

cdef uint32_t CRC24_TABLE[256]


cdef void fill_crc24_table() noexcept:
    cdef uint32_t i, c
    cdef int bit
    for i in range(256):
        c = i << 16
        for bit in range(8):
            c <<= 1
            if c & 0x1000000:
                c ^= 0x1974F0B
        CRC24_TABLE[i] = c & 0xFFFFFF


fill_crc24_table()


cdef inline uint32_t crc24_of(const uint8_t* p, int n) noexcept nogil:
    cdef uint32_t c = 0x875060
    cdef int i
    for i in range(n):
        c = ((c << 8) ^ CRC24_TABLE[((c >> 16) ^ p[i]) & 0xFF]) & 0xFFFFFF
    return c


def crc24(bytes header not None) -> int:
    """The 24-bit checksum of a segment header (polynomial 0x1974F0B, start 0x875060)."""
    return crc24_of(<const uint8_t*> PyBytes_AS_STRING(header), <int> PyBytes_GET_SIZE(header))


cdef uint32_t crc32_of(const uint8_t* p, Py_ssize_t n) except? 0:
    return crc32(PyMemoryView_FromMemory(<char*> p, n, 0x100), CRC32_START)


include "wire_process.pxi"
include "wire_inflight.pxi"
include "wire_timing.pxi"
include "wire_telling.pxi"
include "wire_requests.pxi"
include "wire_pages.pxi"
include "wire_splitter.pxi"
