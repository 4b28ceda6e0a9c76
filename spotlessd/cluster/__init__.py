"""Several stations and several workers on one PostgreSQL. Nothing of it is imported by a station that works alone.

shares.py         paths as (share, path below it): each machine has its own mounts
tickets.py        what one attempt asks of the cluster, and the answer; JSON both ways
connection.py     where PostgreSQL is and the password; what it means when it does not answer
schema.py         procrastinate's tables and ours
ticket_queue.py   every statement that is sent: ask, take, answer, give back; a claim's turn fences zombies
machines.py       what stations and workers tell of themselves
link.py           the thread that talks to PostgreSQL, so that the network never holds up a main loop
station_link.py   a station's: tickets out, answers in
worker_link.py    a worker's: tickets in, answers out, heartbeats, lost workers' tickets queued again
window.py         how many tickets a station may have in the cluster: fairness
remote_worker.py  stands in for a child process in a station's lane
worker_service.py `spotlessd worker`
worker_publishing.py   names given by the worker, where the config says so; ticket_files.py finds what lies there
overview.py       the whole cluster as one picture, for status and metrics
overview_views.py, overview_warnings.py   its values; what is said about them
cluster_figures.py   the same for Prometheus
probes.py         a file that proves that a share is the same folder on two machines
"""
