"""``python -m videomatte``."""

import sys

from videomatte.cli import main

sys.exit(main())
