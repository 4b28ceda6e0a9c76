"""The cluster on paper: how long scans wait, what is busy, what breaks first.

events.py          a clock, servers, a cable
costs.py           seconds and megabytes of each step: which are measured, which assumed
cluster_model.py   stations, their windows, the queue, workers with seats, the share, PostgreSQL, losses
workloads.py       who scans what when
cases.py           the runs behind the figures in the docs
__main__.py        prints them: PYTHONPATH=.:tests python -m simulation
"""
