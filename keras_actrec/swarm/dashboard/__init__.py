"""The page of a swarm: live curves, who follows whom, sizes, times, buttons; its API; and the saved report.

`create_app` makes the web application of a running swarm. `save_report` and `save_hiplot` leave files that need no
server. Nothing here loads anything from another host, and nothing imports Keras.
"""

from keras_actrec.swarm.dashboard.application import Coordinator, create_app
from keras_actrec.swarm.dashboard.lineage import save_hiplot
from keras_actrec.swarm.dashboard.pages import save_report

__all__ = ["Coordinator", "create_app", "save_hiplot", "save_report"]
