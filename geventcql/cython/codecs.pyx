# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""CQL values to bytes and back, compiled (layer: core).

Sans-IO; runs in whichever greenlet looks at rows or binds values.

A CQL type is a tree of `CqlType` objects, made once per statement; each has a C-level `read` (bytes -> value) and
`write` (value -> bytes). `RowDecoder` applies the trees of a result's columns to its rows, `BindEncoder` those of a
statement's parameters to its values. Sources: protocol v3-v5 section 4.2.5.2 (metadata) and section 6 (values);
collections have the format of v3 and later.

Nothing here trusts a length or a count before comparing it with the bytes that are left, and nothing allocates by one.
Wrong cells raise DecodeError, values that do not fit EncodeError, wrong metadata FrameError.
"""

from cpython.buffer cimport (
    PyBUF_FORMAT,
    PyBUF_ND,
    PyBuffer_Release,
    PyObject_CheckBuffer,
    PyObject_GetBuffer,
)
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_Check,
    PyBytes_FromObject,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.datetime cimport (
    PyDate_Check,
    PyDate_CheckExact,
    PyDateTime_Check,
    PyDateTime_CheckExact,
    PyDateTime_DATE_GET_HOUR,
    PyDateTime_DATE_GET_MICROSECOND,
    PyDateTime_DATE_GET_MINUTE,
    PyDateTime_DATE_GET_SECOND,
    PyDateTime_GET_DAY,
    PyDateTime_GET_MONTH,
    PyDateTime_GET_YEAR,
    PyDelta_Check,
    datetime_new,
    datetime_tzinfo,
    get_utc,
    import_datetime,
    timedelta_days,
    timedelta_microseconds,
    timedelta_seconds,
)
from cpython.dict cimport PyDict_CheckExact, PyDict_SetItem
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_AsDouble, PyFloat_CheckExact, PyFloat_FromDouble
from cpython.list cimport PyList_CheckExact, PyList_GET_SIZE, PyList_New, PyList_SET_ITEM, PyList_Sort
from cpython.long cimport PyLong_Check, PyLong_CheckExact, PyLong_FromLong, PyLong_FromLongLong
from cpython.number cimport PyNumber_Index
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_Check, PyUnicode_DecodeASCII, PyUnicode_DecodeUTF8
from libc.math cimport isfinite, isinf
from libc.stdint cimport INT64_MAX, INT64_MIN, int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcpy, memmove, strlen

cimport cython

import decimal
import uuid
from collections import Counter, namedtuple
from collections.abc import Mapping
from keyword import iskeyword

from geventcql.errors import DecodeError, EncodeError, FrameError
from geventcql.util import Date, Duration, OrderedMapSerializedKey, SortedSet, Time, Timestamp

cdef extern from "Python.h":
    void PyObject_GC_UnTrack(void *instance)
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

import_datetime()

# What a server's description of types may ask for.
cdef int DEEPEST = 64  # levels of nested types
cdef Py_ssize_t LONGEST_TYPE = 256 * 1024  # characters of a type's name
cdef Py_ssize_t MOST_METADATA = 16 * 1024 * 1024  # characters of the names of all types and columns of one result
cdef Py_ssize_t COLUMN_WORTH = 64  # what a column counts for among them, besides its names
cdef Py_ssize_t CUSTOM_WORTH = 32  # what a character of a class name does
cdef Py_ssize_t FEW = 256  # keys with one hash
cdef Py_ssize_t MOST_CLASS_FIELDS = 65_536  # of all classes of named tuples that are kept: some 10 MB
cdef Py_ssize_t MOST_FIELDS = 4096  # of a class of named tuples, whose making takes longer the more it has
# What their values may ask for: see TupleType and DecimalType.
cdef Py_ssize_t FREE_ABSENT = 1024 * 1024
cdef Py_ssize_t ABSENT_PER_BYTE = 2
cdef Py_ssize_t LONGEST_DECIMAL = 1024 * 1024

include "codecs_buffer.pxi"
include "codecs_scalar.pxi"
include "codecs_time.pxi"
include "codecs_nested.pxi"
include "codecs_parse.pxi"
include "codecs_rows.pxi"
