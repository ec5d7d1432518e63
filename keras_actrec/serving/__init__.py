"""Using trained networks: on files, folders, long videos and live streams, and as a web application.

`windows`, `reading` and `timeline` say what is asked of a video and what becomes of the answers, and know no network;
`network`, `predictor` and `batching` run networks; `predict_command` and `serve_command` are the commands.
"""
