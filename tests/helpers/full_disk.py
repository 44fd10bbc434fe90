"""A disk that takes no file beyond a size, for the work of a child process."""

import os
import resource


def on_a_full_disk(work, largest):
    """Kinds of the error that `work` ends with where files hold at most `largest` bytes; none without an error."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))  # Python ignores the signal
        try:
            work()
        except BaseException as error:
            os.write(writing, ",".join(kind.__name__ for kind in type(error).__mro__).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as said:
        return [kind for kind in said.read().split(",") if kind]
