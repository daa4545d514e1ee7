# Which process and which thread runs: a fork's child has its parent's objects, and must know them from its own.

cdef extern from "pthread.h" nogil:
    int pthread_atfork(void (*prepare)() noexcept, void (*parent)() noexcept, void (*child)() noexcept)

cdef extern from "unistd.h" nogil:
    long getpid()

cdef extern from *:
    """
    static __thread uint64_t geventcql_thread;
    """
    uint64_t this_thread "geventcql_thread"

cdef uint64_t threads = 0  # that have been numbered; changed with the GIL held

cdef uint64_t drawn = <uint64_t> time_ns()  # see draw()
cdef uint64_t generation = 0
cdef long known_pid = getpid()


cdef void count_fork() noexcept nogil:
    """In the child of a fork, in C: whoever forked, and before anything of Python's runs."""
    global generation, known_pid, drawn
    generation += 1
    known_pid = getpid()
    drawn ^= <uint64_t> known_pid << 33  # siblings are not all to choose alike


pthread_atfork(NULL, NULL, count_fork)


cpdef uint64_t process_number() noexcept:
    """How many forks lie between the process that imported this and the one that runs; that of a system call past libc's
    ``fork`` is noticed here.
    """
    if getpid() != known_pid:
        count_fork()
    return generation


def thread_id() -> int:
    """The calling thread's number; another one in each process, so that what belongs to a fork's parent belongs to no thread of
    its child. The real thread, also where gevent has patched ``get_ident`` to tell greenlets apart; and never that of one that
    has ended, which the system gives to the next.
    """
    global threads, this_thread
    if this_thread == 0:
        threads += 1
        this_thread = threads
    return this_thread ^ (generation << 48)


def of_its_process(method, otherwise):
    """``method`` of an object that has the :func:`process_number` of its own as ``_process``: where that is not the process that
    runs, ``otherwise`` is called instead, and the result is None.

    Compiled, so that no signal's handler runs in between: what it raised would keep ``method`` from being called at all.
    """
    def guarded(self, *args, **kwargs):
        if self._process == process_number():
            return method(self, *args, **kwargs)
        otherwise()
        return None
    return guarded
