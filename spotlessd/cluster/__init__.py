"""Several stations and several workers on one PostgreSQL. Nothing of it is imported by a station that works alone.

A job's way: station's lane → ticket → PostgreSQL → worker's seat → answer → station's lane. What a claim's turn fences:
answers, names, part files.

What is said:

    shares.py           paths as (share, path below it): each machine has its own mounts
    tickets.py          what one attempt asks of the cluster, and the answer; portable_orders.py has its work order
    machines.py         what stations and workers tell of themselves
    window.py           how many tickets a station may have in the cluster: fairness

To PostgreSQL:

    connection.py       where it is and the password; what it means when it does not answer; wire.py: one connection
    schema.py           procrastinate's tables and ours; ticket_rows.py: their rows as values
    ticket_queue.py     every statement: ask, take, answer, give back (claims.py, procrastinate_jobs.py)
    reaping.py          tickets of lost workers queued again, poison capped
    link.py             the thread that talks to it, so that the network never holds up a main loop
    station_link.py     a station's: tickets out, answers in; worker_link.py: a worker's; *_book.py: what is to be said

The station's side:

    wiring.py           builds it; remote_crew.py: its lanes; station_facts.py: what it tells
    remote_lane.py      a lane whose worker is elsewhere; remote_worker.py stands in for the child process

The worker's side, `spotlessd worker`:

    worker_service.py   the main loop; worker_parts.py, worker_name.py: what it is made of, its name
    worker_seat.py      one child and its ticket; seat_checks.py: what is looked at before a ticket starts
    worker_publishing.py  names given by the worker, where the config says so; ticket_files.py: what lies there
    worker_monitor.py   its /metrics and /healthz

To look at:

    overview.py         the whole cluster as one picture (overview_views.py, overview_warnings.py)
    cluster_figures.py  the same for Prometheus
    probes.py           a file that proves that a share is the same folder on two machines
"""
