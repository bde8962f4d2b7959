"""Combine runs that share a test split: python jobs/ensemble.py --run DIR RUN RUN ..."""

import sys

from fieldtrial.commands.ensemble import main

if __name__ == "__main__":
    sys.exit(main())
