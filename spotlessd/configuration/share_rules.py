"""What shares and roots must keep together, beyond what each key alone must. By name; no disk is looked at."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from spotlessd.configuration.check import STAND_IN_FOLDER
from spotlessd.configuration.cluster_tables import ShareSettings
from spotlessd.configuration.root_tables import RootSettings
from spotlessd.configuration.toml_locate import KeyPath

NO_ROOTS = "nothing came; at least one [[roots]] is required (or an engine and [[shares]] for a worker)."


def missing_roots(
    roots: Sequence[RootSettings], *, is_worker: bool, refused: Collection[str]
) -> Iterator[tuple[KeyPath, str]]:
    """Yield that there are no roots, unless they need not be. `is_worker`: an engine and shares are given.

    `refused`: top keys that came but were refused; what hangs on them cannot be told yet.
    """
    if not roots and not is_worker and not {"engine", "shares"} & set(refused):
        yield ("roots",), NO_ROOTS


def shares_taken_twice(shares: Sequence[ShareSettings]) -> Iterator[tuple[KeyPath, str]]:
    """Yield each share whose name or folder is another's; one may lie in another."""
    for key in ("name", "path"):
        seen: dict[str, int] = {}
        for index, share in enumerate(shares):
            value = str(getattr(share, key))
            if value in seen:
                yield ("shares", index, key), f"{value!r} came; it is taken by shares[{seen[value]}]; give another."
            seen.setdefault(value, index)


def roots_out_of_shares(
    roots: Sequence[RootSettings], shares: Sequence[ShareSettings], config_folder: Path
) -> Iterator[tuple[KeyPath, str]]:
    """Yield each folder of a root that other machines could not find."""
    folders = ", ".join(f"{share.name} = {share.path}" for share in shares) or "there is none"
    for index, root in enumerate(roots):
        for key in ("input", "output"):
            path: Path = getattr(root, key)
            if path.is_relative_to(config_folder / STAND_IN_FOLDER):
                continue  # what came was refused
            if not any(path.is_relative_to(share.path) for share in shares):
                text = f"{path} lies in no share ({folders}), so no worker could find it; add one to [[shares]]."
                yield ("roots", index, key), text
