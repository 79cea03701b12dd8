# SPDX-License-Identifier: GPL-2.0-or-later
# distutils: language = c++
# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Numbers out of the tables of text dumps."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport strtod

cdef enum:
    ZERO = 48  # '0'

cdef double[23] POWERS
cdef int _k
for _k in range(23):
    POWERS[_k] = 10.0**_k


cdef inline bint is_space(char c) noexcept nogil:
    return c == b' ' or c == b'\t' or c == b'\r'


cdef inline const char *parse_number(const char *p, double *value) noexcept nogil:
    """Read a number that ends at white space; NULL if there is none.

    Up to 19 digits make an exact integer; below 2^53 its product or quotient with a power of ten up to 22 is
    rounded once, which is the correctly rounded result. Everything else is left to strtod.
    """
    cdef const char *start = p
    cdef char *end
    cdef uint64_t mantissa = 0
    cdef int digits = 0, exponent = 0, written = 0
    cdef bint negative = p[0] == b'-', minus
    if p[0] == b'-' or p[0] == b'+':
        p += 1
    while b'0' <= p[0] <= b'9':
        mantissa = 10 * mantissa + (p[0] - ZERO)
        digits += 1
        p += 1
    if p[0] == b'.':
        p += 1
        while b'0' <= p[0] <= b'9':
            mantissa = 10 * mantissa + (p[0] - ZERO)
            digits += 1
            exponent -= 1
            p += 1
    if digits and (p[0] == b'e' or p[0] == b'E'):
        p += 1
        minus = p[0] == b'-'
        if p[0] == b'-' or p[0] == b'+':
            p += 1
        if not b'0' <= p[0] <= b'9':
            return NULL
        while b'0' <= p[0] <= b'9' and written < 10000:
            written = 10 * written + (p[0] - ZERO)
            p += 1
        exponent += -written if minus else written
    if (
        digits
        and digits <= 19
        and mantissa < (<uint64_t>1 << 53)
        and -22 <= exponent <= 22
        and (is_space(p[0]) or p[0] == b'\n' or p[0] == 0)
    ):
        value[0] = <double>mantissa
        if exponent < 0:
            value[0] /= POWERS[-exponent]
        else:
            value[0] *= POWERS[exponent]
        if negative:
            value[0] = -value[0]
        return p
    value[0] = strtod(start, &end)
    if end == start or not (is_space(end[0]) or end[0] == b'\n' or end[0] == 0):
        return NULL
    return end


def parse_table(bytes text, Py_ssize_t start, const int[::1] slots, double[:, ::1] table):
    """Read lines of white-space separated columns.

    Parameters
    ----------
    text : bytes
    start : int
        Where the first line begins.
    slots : ndarray of int32, shape (ncolumns,)
        Column of `table` that a token goes to; negative: it is skipped, and need not be a number.
    table : ndarray, shape (nrows, ncolumns of the result)
        Filled.

    Returns
    -------
    position : int
        Behind the last line; -1 if the text ends before.
    bad : int
        Row with a missing column, a surplus one or a token that is no number; -1 if all are well.
    """
    cdef Py_ssize_t row = 0, column, nrows = table.shape[0], ncolumns = slots.shape[0]
    cdef const char *base = text
    cdef const char *p = base + start
    cdef const char *end = base + len(text)
    cdef const char *token
    cdef double value = 0.0
    with nogil:
        while row < nrows:
            for column in range(ncolumns):
                while is_space(p[0]):
                    p += 1
                if p >= end or p[0] == b'\n':
                    break
                if slots[column] < 0:
                    while p < end and not is_space(p[0]) and p[0] != b'\n':
                        p += 1
                else:
                    token = parse_number(p, &value)
                    if token == NULL:
                        while p < end and not is_space(p[0]) and p[0] != b'\n':
                            p += 1
                        break
                    p = token
                    table[row, slots[column]] = value
            else:
                column = ncolumns
            while is_space(p[0]):
                p += 1
            if p >= end:  # the last token may be cut short
                break
            if column < ncolumns or p[0] != b'\n':
                with gil:
                    return -1, row
            p += 1
            row += 1
    return (p - base if row == nrows else -1), -1
