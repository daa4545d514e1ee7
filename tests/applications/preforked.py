"""Processes that fork after they have connected: run as `python preforked.py ACT`; they print what came of it as JSON.

Imports nothing of the tests.
"""

import json
import multiprocessing
import os
import sys

import gevent

import geventcql

session = None
select = None


def connect():
    global session, select
    session = geventcql.connect([os.environ["CQL_HOST"]], port=int(os.environ["CQL_PORT"]))
    session.default_timeout = 60
    select = session.prepare(os.environ["CQL_SELECT"])


def row_of(key):
    return session.execute(select, [key]).one().k


def connect_and_ask(key):
    """In a process that shares nothing with its parent."""
    connect()
    with session:
        return row_of(key), os.getpid()


def ask(key):
    return row_of(key), os.getpid()


class Worker:
    """A child that gets tasks over a pipe, and ends after some, as Celery's with max_tasks_per_child."""

    def __init__(self, tasks):
        self.tasks = tasks
        task_out, self._tasks_in = os.pipe()
        self._results_out, result_in = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                with open(task_out, "rb", 0) as lines, open(result_in, "wb", 0) as results:
                    for _ in range(tasks):
                        results.write(b"%d\n" % row_of(int(lines.readline())))
            finally:
                os._exit(0)
        os.close(task_out)
        os.close(result_in)
        self._results = os.fdopen(self._results_out, "rb", 0)

    def begin(self, key):
        self.tasks -= 1
        os.write(self._tasks_in, b"%d\n" % key)

    def result(self):
        return int(self._results.readline())

    def end(self):
        self._results.close()
        os.close(self._tasks_in)
        return os.waitpid(self.pid, 0)[1]


def prefork(workers=3, tasks=60, tasks_per_worker=7):
    """A parent that forks workers, replaces them, and has requests of its own in flight all the while."""
    connect()
    own, right, ended = [], [], []

    def ask_on():
        for key in range(400):
            own.append(row_of(key % 100) == key % 100)
            gevent.sleep(0.001)

    asking = [gevent.spawn(ask_on) for _ in range(3)]
    gevent.sleep(0.01)
    pool = [Worker(tasks_per_worker) for _ in range(workers)]
    for key in range(tasks):
        at = key % workers
        if not pool[at].tasks:
            ended.append(pool[at].end())
            pool[at] = Worker(tasks_per_worker)
        pool[at].begin(key)
        gevent.sleep(0)
        right.append(pool[at].result() == key)
    ended += [worker.end() for worker in pool if not worker.tasks]
    for worker in pool:
        if worker.tasks:
            os.kill(worker.pid, 9)
            worker.end()
    gevent.joinall(asking, raise_error=True)
    session.shutdown()
    return {"right": [len(right), all(right)], "own": [len(own), all(own)], "ended": sum(ended)}


def processes(method):
    """multiprocessing; under `fork` the children have the parent's Session."""
    context = multiprocessing.get_context(method)
    connect()
    with context.Pool(2) as pool:
        found = pool.map(ask if method == "fork" else connect_and_ask, range(20), chunksize=5)
    process = context.Process(target=ask if method == "fork" else connect_and_ask, args=(5,))
    process.start()
    process.join()
    own = [row_of(key) for key in range(20)]
    session.shutdown()
    return {
        "right": [key for key, _ in found] == list(range(20)) == own, "others": os.getpid() not in {pid for _, pid in found},
        "exit": process.exitcode,
    }  # fmt: skip


if __name__ == "__main__":
    act = sys.argv[1]
    print(json.dumps(prefork() if act == "prefork" else processes(act)))
