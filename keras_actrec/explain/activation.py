"""Activation maps: the mean over the channels of a layer's output, frame by frame (Figures 14b and 15b of the paper).

Shows what a layer answers to, whatever the class. Values are shifted so that the lowest of the clip is zero, because
a convolution without an activation gives both signs.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_actrec.explain import feature_maps, taps
from keras_actrec.explain.explanation import Explanation, InapplicableError, Options
from keras_actrec.explain.subject import Subject


def activation(subject: Subject, target: int, options: Options) -> Explanation:
    """Return the mean activation of `options.layer`, or of the first convolution.

    Raises:
        InapplicableError: the layer's output is no map.
        UserError: there is no such layer.
    """
    call = subject.find(options.layer) if options.layer else feature_maps.first_convolution(subject)
    feature_maps.grid(call)
    with taps.added(call.layer, [ops.zeros(())] * subject.times_called(call.layer)) as outputs:
        subject.run(subject.clip)
    arrays = [ops.convert_to_numpy(ops.cast(output, "float32")) for output in outputs]
    mean = feature_maps.as_map(subject, call, arrays).mean(axis=-1)
    if not np.isfinite(mean).all():
        raise InapplicableError(f"the layer '{call.path}' gives NaN or infinite numbers.")
    laid = feature_maps.to_clip(subject, call, mean - mean.min())
    return Explanation("activation", target, laid, layer=call.path, facts={"grid": list(mean.shape)})
