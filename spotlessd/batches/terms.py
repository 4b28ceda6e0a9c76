"""The settings of a batch: those of a station, but with one folder of its own, and without all that a service needs.

What is restored how, on which devices or which cluster, stays as the config says. Nobody watches the folder, nobody is
notified, no port is served: the run ends by itself, and a person looks at it.
"""

from spotlessd.batches.place import Batch
from spotlessd.configuration.root_tables import RootSettings
from spotlessd.configuration.sections import HealthSettings, NotifySettings, ReviewSettings
from spotlessd.configuration.settings import Settings

ROOT_NAME = "batch"
"""The one root's name. Receipts hold it, and a lost ledger is rebuilt from them: it must not change."""
LOOK_SECONDS = 3600.0
"""How often a folder is looked at again while its batch goes on; a look at a large one may take minutes."""
LOG_NAME = "batch.log"


def settings_of(batch: Batch, settings: Settings, priority: int, left_out: tuple[str, ...] = ()) -> Settings:
    """Return what the service runs the batch with. `left_out`: patterns of what in DIR is not to be taken.

    The "config file" of these settings is the batch's record: it names the batch in messages, and a change of the
    station's config must not turn a batch into that station.
    """
    watch, spool_dir = settings.watch, settings.watch.spool_dir
    root = RootSettings(name=ROOT_NAME, input=batch.input, output=batch.output, priority=priority)
    derived = settings.model_copy(
        update={
            "station_id": batch.id,
            "state_dir": batch.state_dir,
            "roots": (root if batch.input_marker == batch.id else root.known_by(batch.input_marker),),
            "watch": watch.model_copy(
                update={
                    "mode": "polling",
                    "poll_seconds": LOOK_SECONDS,
                    "ignore": (*watch.ignore, *left_out),
                    # A folder of its own: whoever starts there clears it.
                    "spool_dir": None if spool_dir is None else spool_dir / batch.id,
                }
            ),
            "health": HealthSettings(),
            "review": ReviewSettings(feedback=False),
            "notify": NotifySettings(),
            "log": settings.log.model_copy(update={"file": batch.folder / LOG_NAME}),
        }
    )
    derived._config_path = batch.record
    return derived
