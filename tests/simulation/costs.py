"""What each step costs, in seconds and megabytes. Each number says whether it is measured or assumed.

Measured here: one core (OMP_NUM_THREADS=1) of a machine with two shared ones, load 2 to 3, real pipeline with both
networks, 16-bit RGB TIFF with LZW, dust as on the tests' drawn film. 6, 24 and 73.5 megapixels: 5.4, 23.1 and 72.2 s;
of these decoding, encoding and verifying 1.8, 5.9 and 17.7 s: 0.98 s per megapixel, nothing to speak of per frame. Two
cores alone on the machine: 24 megapixels in 16 s (README). Files: 6.9 MB per megapixel, results 9.1 to 9.5.
No GPU was at hand. What it saves is assumed.
"""

from dataclasses import dataclass

GIGABIT = 117.5
"""Megabytes per second of one direction of a gigabit cable, headers taken off (94 %)."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Of one seat: a frame of m megapixels is computed in `frame_seconds` + m × `megapixel_seconds`."""

    frame_seconds: float
    megapixel_seconds: float

    def seconds(self, megapixels: float) -> float:
        return self.frame_seconds + megapixels * self.megapixel_seconds


CPU = Speed(0.5, 0.65)
"""A seat on two CPU cores. Measured: 24 megapixels in 16 s."""

GPU = Speed(0.5, 0.12)
"""A seat with a GPU and three CPU cores: 24 megapixels in 3.4 s. Assumed: the measured 0.24 s per megapixel of
decoding, encoding and verifying spread over three cores, and 0.04 s for both networks (one core: 0.74 s)."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Everything that is not the computing. Seconds, megabytes, probabilities."""

    read_megabytes: float = 6.9  # per megapixel; measured
    written_megabytes: float = 9.3  # per megapixel; measured, with mask and preview
    transaction_seconds: float = 0.005  # of PostgreSQL for one statement that changes something; assumed, see the tests
    notice_seconds: float = 0.05  # from a notification to the statement that follows it; assumed
    publish_seconds: float = 0.25  # of the station's one thread; measured 0.3 ms on a local disk, assumed on a share
    beat_seconds: float = 10.0  # between two looks at the cluster; the default of `cluster.heartbeat_seconds`
    lost_seconds: float = 30.0  # the default of `cluster.lost_seconds`
    crash_probability: float = 0.001  # that a child dies under a frame; assumed
    restart_seconds: float = 15.0  # a child's start with its models; assumed
    retry_seconds: float = 30.0  # the default of `queue.retry_seconds`
