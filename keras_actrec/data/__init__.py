"""Videos to batches: manifests, splits, decoding, sampling, augmentation, the prepared cache, the pipeline."""
