"""Decoding of files that nobody vouches for: in worker processes, within set seconds and bytes.

A video file can make a decoder hang, take all memory, or crash the process. Here that ends a worker, which is replaced,
and the file is told as an `UnreadableVideoError` with one of these reasons, beside those of `data.decode`:

- "took longer than 10 s",
- "wanted more than 1.0 GB of memory",
- "crashed the decoder (signal 11)", "crashed the decoder (exit code 3)", "crashed the decoder (ValueError: ...)",
- "frames of 30000x30000 pixels, at most 4096x4096", "lasts 7200 s, at most 60 s", "has 9000 frames, at most 3000".

`Pool` runs functions by their names, `source.GuardedSource` is a `FrameSource` over it. The process that asks never
opens the file, and imports no decoder for a pool. Sizes that no decoder accepts (FFmpeg's end near 16384 x 16384) are
told as "corrupt: ..." by it.
"""

from keras_actrec.data.guarded.limits import Limits
from keras_actrec.data.guarded.pool import BusyError, Pool

__all__ = ["BusyError", "Limits", "Pool"]
