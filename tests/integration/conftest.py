import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for processes.py
sys.path[:0] = [str(Path(__file__).parent.parent / folder) for folder in ("data/fetch", "data")]  # for stand_in.py
