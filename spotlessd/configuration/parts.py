"""What each part of the station needs of the settings, in the part's own words."""

from collections.abc import Sequence
from dataclasses import replace

from spotless_core.options import DeviceChoice, InpaintOptions
from spotlessd.commons import DispatchSettings
from spotlessd.configuration.settings import Settings
from spotlessd.devices import posts, share_of_cores
from spotlessd.folders.roots import Root
from spotlessd.job import RetryPolicy
from spotlessd.messages import WorkerSetup
from spotlessd.supervisor import Limits


def retry_policy(settings: Settings) -> RetryPolicy:
    """Return how jobs are tried again."""
    queue = settings.queue
    return RetryPolicy(
        queue.max_attempts,
        queue.max_interrupts,
        queue.retry_seconds,
        queue.retry_max_seconds,
        may_use_cpu=settings.device.allow_fallback and settings.device.device != DeviceChoice.CPU,
    )


def worker_setup(settings: Settings) -> WorkerSetup:
    """Return what the worker loads: the ways of filling that the roots ask for, or the config without roots."""
    options = (settings.restore_options(root).inpaint for root in settings.roots or (None,))
    first, *more = dict.fromkeys(InpaintOptions(each.method, each.big_lama_path) for each in options)
    return WorkerSetup(
        device=settings.device_options(),
        inpaint=first,
        more_inpaints=tuple(more),
        stall_seconds=settings.queue.stall_seconds,
        log_level=settings.log.level,
    )


def worker_setups(settings: Settings) -> tuple[WorkerSetup, ...]:
    """Return the setup of each worker, one for each device that is there now. GPUs that are named must be used.

    Of GPUs that were only found, none may answer (a torch without CUDA): then `auto` stays what it is, and the crew
    keeps one worker on the CPU. Several that may use all cores get an equal share of them: else each would start a
    thread on every core, and they would wait for each other.
    """
    setup, gpus = worker_setup(settings), settings.device.gpus
    if gpus:
        setup = replace(setup, device=replace(setup.device, device=DeviceChoice.CUDA))
    places = posts(settings.device.device, gpus)
    if len(places) > 1 and not setup.device.threads:
        setup = replace(setup, device=replace(setup.device, threads=share_of_cores(len(places))))
    return tuple(replace(setup, name=post.name, environment=post.environment) for post in places)


def worker_limits(settings: Settings) -> Limits:
    """Return when the worker is replaced or killed."""
    queue = settings.queue
    return Limits(queue.stall_seconds, queue.recycle_jobs, queue.max_worker_mb)


def dispatch_settings(settings: Settings, roots: Sequence[Root], *, is_eager: bool) -> DispatchSettings:
    """Return what starts a job and where its result goes; `is_eager`: load the models before the first job."""
    return DispatchSettings(
        station_id=settings.station_id,
        options=settings.restore_options(),
        reserve_bytes=settings.disk.reserve_mb * 1_000_000,
        profiles={root.name: root.profile.options for root in roots},
        is_eager=is_eager,
        keeps_timestamp=settings.output.keep_timestamp,
        seconds_per_megapixel=settings.queue.seconds_per_megapixel,
        spool_dir=settings.spool_dir,
        feedback_dir=settings.state_dir if settings.review.feedback else None,
    )
