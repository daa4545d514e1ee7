# Telling targets, all of them, whatever one of them raises. Compiled, since CPython runs the handlers of signals in Python code
# only: what they raise cannot come between two targets, nor between the table, which has let go of them, and the first.

cdef int tell_again(error, method, tuple args, list errors) except -1:
    """``method(*args)`` has raised ``error``. What is no Exception may be a signal's handler's, which ran before ``method`` had
    begun: it is called again, and knows what it has done already.

    :param errors: gets the method and what it raised
    """
    errors.append((method, error))
    if not isinstance(error, Exception):
        try:
            method(*args)
        except BaseException as another:
            errors.append((method, another))
    return 0


cdef int tell(method, tuple args, list errors) except -1:
    try:
        method(*args)
    except BaseException as error:
        tell_again(error, method, args, errors)
    return 0


cdef object gravest(list errors):
    """What is to be raised of these errors: the first that is no Exception, or else the first."""
    for _, error in errors:
        if not isinstance(error, Exception):
            return error
    return errors[0][1]
