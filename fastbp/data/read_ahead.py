"""A thread that reads what will soon be needed, while other work goes on."""

import concurrent.futures


class ReadAhead:
    """A context with one thread, which calls functions in the order in which they are given to it.

    Where the system has no more threads, they are called at once, with the same results.
    """

    def __enter__(self):
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "fastbp reader")
        return self

    def __exit__(self, *error):
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def submit(self, function, *arguments):
        """Return the Future of a call."""
        if self._thread is not None:
            try:
                return self._thread.submit(function, *arguments)
            except RuntimeError:  # what it has queued no thread will ever run
                self._thread = None
        future = concurrent.futures.Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # it is raised where the result is asked for
            future.set_exception(error)
        return future
