"""The door of a swarm's page (see `web.security`)."""

from __future__ import annotations

from keras_actrec.web.security import Door

HEADER = "x-swarm"
DOOR = Door("swarm", HEADER, "swarm.token", "swarm.host")
