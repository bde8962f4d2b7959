"""Evaluate a finished run's weights again: python jobs/evaluate.py --run DIR"""

import sys

from fieldtrial.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
