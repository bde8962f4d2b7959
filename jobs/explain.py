"""Draw what a trained model sees: python jobs/explain.py --run DIR"""

import sys

from fieldtrial.commands.explain import main

if __name__ == "__main__":
    sys.exit(main())
