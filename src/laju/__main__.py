"""`python -m laju` is `laju`."""

from laju_start import main

if __name__ == "__main__":
    main()
