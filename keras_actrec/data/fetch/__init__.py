"""Bringing public collections: Kinetics, HMDB-51, UCF-101 (docs/fetch.md).

    config.fetch -> place (whose folder) -> kinetics | hmdb_ucf (official lists, by FiftyOne's knowledge)
      -> plan (which clips, in which order) -> from_pages (video_pool, video_worker: yt-dlp) | from_archives
      -> listing (manifest, counts, receipt)

`origin` stands for the hosts, a mirror, or a folder; `transfer`, `pace` and `outcome` for patience with them; `space`
and `video_check` for what must hold before and after.
"""
