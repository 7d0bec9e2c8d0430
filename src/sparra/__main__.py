"""``python -m sparra`` is the command line."""

from sparra.cli import main

if __name__ == "__main__":
    main()
