"""The process that does the work: it takes tasks from a pipe, one after another, and ends with its parent."""

import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

from sparra.engine.work import BEGUN, Outcome, Task, perform, told

SECONDS_BETWEEN_LOOKS = 0.5


def main() -> None:
    """Work until the pipe, whose number is the first argument, is closed."""
    connection: Connection[Outcome | str, Task] = Connection(int(sys.argv[1]))
    # Ctrl+C in a terminal reaches every process there; whoever gave the work ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(int(sys.argv[2]),), daemon=True).start()
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        except Exception as error:  # A function that cannot be imported here.
            status, words = told(error)
            connection.send(Outcome(status, *words))
        else:
            connection.send(BEGUN)
            connection.send(perform(task))


def _end_with(parent: int) -> None:
    """End when the parent ends, however that is killed: else its work would go on beside the next run's."""
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)


if __name__ == "__main__":
    main()
