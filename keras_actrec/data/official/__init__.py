"""The official lists of further collections, one file each: where the videos lie, and what each of them is.

Each module has one function `read` that returns a manifest. What they share: training clips come from the official
training list, and validation is carved out of it by group (subject, recording, source video), never out of the test
list; clips whose video is not there stay in the manifest and are quarantined when they are read, as "missing file".
"""
