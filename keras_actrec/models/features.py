"""Cut a frame-wise model at its features, for transfer learning on features that are computed once."""

from __future__ import annotations

import keras

from keras_actrec.errors import UserError

FEATURES = "frame_features"
PICK = "pick_frame"


def split_at_features(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Return (clip -> frame features (B, T, D), features -> logits); both share the layers of `model`.

    Applied one after the other in inference they equal the model. A model that picks a frame first picks it after the
    cut instead: the features then hold every frame, so training can still draw among them, and any two models with the
    same backbone have the same features.
    """
    if FEATURES not in (layer.name for layer in model.layers):
        raise UserError(f"'{model.name}' has no frame features to keep; use training.regime: end_to_end.")
    clip = model.inputs[0]
    layer = model.get_layer(FEATURES)
    tail = keras.Model(layer.output, model.output)
    features = layer(clip)
    kept = keras.Input(features.shape[1:], name=FEATURES, dtype=features.dtype)
    picks = PICK in (other.name for other in model.layers)
    logits = tail(model.get_layer(PICK)(kept) if picks else kept)
    head = keras.Model([kept], logits, name=f"{model.name}_head")
    return keras.Model([clip], features, name=f"{model.name}_features"), head
