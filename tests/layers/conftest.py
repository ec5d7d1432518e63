"""Helpers of the tests of layers."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for attention_oracle.py
