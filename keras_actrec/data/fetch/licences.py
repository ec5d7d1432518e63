"""Whose the videos are and what may be done with them, as their makers say. A summary, not legal advice."""

from __future__ import annotations

_KINETICS = {
    "lists": "CC BY 4.0, Google LLC (DeepMind)",
    "videos": "belong to those who uploaded them; YouTube's terms of service apply to each; not to be passed on",
    "home": "https://www.deepmind.com/open-source/kinetics",
    "cite": "Kay et al., The Kinetics Human Action Video Dataset, arXiv:1705.06950, 2017",
}
LICENCES = {
    "kinetics400": _KINETICS,
    "kinetics600": _KINETICS | {"cite": "Carreira et al., A Short Note about Kinetics-600, arXiv:1808.01340, 2018"},
    "kinetics700": _KINETICS
    | {"cite": "Carreira et al., A Short Note on the Kinetics-700 Human Action Dataset, arXiv:1907.06987, 2019"},
    "kinetics700-2020": _KINETICS
    | {"cite": "Smaira et al., A Short Note on the Kinetics-700-2020 Human Action Dataset, arXiv:2010.10864, 2020"},
    "hmdb51": {
        "lists": "CC BY 4.0, as FiftyOne's zoo states it",
        "videos": "CC BY 4.0 for the collection, as FiftyOne's zoo states it; many clips are from films, whose owners "
        "keep their rights",
        "home": "https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database",
        "cite": "Kuehne et al., HMDB: A Large Video Database for Human Motion Recognition, ICCV 2011",
    },
    "ucf101": {
        "lists": "none is stated",
        "videos": "none is stated: clips of YouTube videos, whose owners keep their rights; for research",
        "home": "https://www.crcv.ucf.edu/research/data-sets/ucf101",
        "cite": "Soomro et al., UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild, "
        "CRCV-TR-12-01, 2012",
    },
}
