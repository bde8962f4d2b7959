"""Count vehicles in video: python jobs/detect.py --video FILE --line NAME:x1,y1,x2,y2"""

import sys

from fieldtrial.commands.detect import main

if __name__ == "__main__":
    sys.exit(main())
