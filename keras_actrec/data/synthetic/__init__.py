"""`stick-actions`, the data set that is rendered on the user's machine: video files of an acting figure.

`ensure(root, settings)` leaves in `root`:

    manifest.csv              one row per clip, with the splits of three folds (see `data.manifest`)
    videos/SitDown/v_SitDown_g03_c02.mp4    the known classes, in the layout of UCF-101
    unknown/Walk/...          classes that no network is trained on (split `unknown`)
    Unlabelled/...            clips of known classes without a label (split `unlabelled`)
    unlabelled_labels.csv     what those show, only to measure pseudo-labels against
    depth/CLASS/....mkv       depth without loss, aligned frame by frame; bright is near
    boxes/CLASS/....json      the picture's `width` and `height` and the person's `boxes`: left, top, right, bottom in
                              pixels of the upright picture, one row per frame; whole, also behind an occluder
    lists/                    the three folds as lists in the format of UCF-101, relative to `videos`
    receipt.json              version of the generator and settings

A group (g03) is a person in a place and lies in one split of a fold. Both clips of a temporal pair come from one
rendering: the second holds the first's pictures in reversed order, with background and camera, in the same format.
"""

from keras_actrec.data.synthetic.classes import CLASSES, TEMPORAL_PAIRS, UNKNOWN_CLASSES
from keras_actrec.data.synthetic.receipt import VERSION
from keras_actrec.data.synthetic.render import ensure

__all__ = ["CLASSES", "TEMPORAL_PAIRS", "UNKNOWN_CLASSES", "VERSION", "ensure"]
