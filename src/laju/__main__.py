"""`python -m laju` is `laju`."""

from laju.cli import main

if __name__ == "__main__":
    main()
