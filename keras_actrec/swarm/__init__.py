"""Collaborative learning: particles train side by side and move by each other's weights (Phong and Ribeiro, 2023).

`dynamics` holds the equations, `exchange` applies them to published positions, `store` keeps positions and the
journal, `coordinator` runs on the server, `particle` in each training process, `dashboard` shows it all.
"""
