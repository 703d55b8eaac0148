"""Every error a user can cause. The face of the command line turns them into one `Error: …` line; the rest are bugs.

CuratorError
├── UsageError          what was asked for makes no sense: wrong option, unreadable query
│   ├── UnknownName         no part, image or root of that name; the message suggests near ones
│   └── WhereError          a `--where` that SQLite refuses; the message lists the columns
├── IndexProblem        something about the index folder
│   ├── NoIndex             there is none at that place
│   ├── IndexExists         there is one already
│   ├── IndexLocked         another process is writing
│   ├── IndexDamaged        the database failed a check
│   ├── IndexFull           the disk under it is full
│   ├── IndexClosed         it was closed, and is still asked
│   ├── IndexTooNew         written by a later version
│   └── IndexTooOld         written by an earlier version, and must be migrated first
├── ScaleProblem        something about a set of shards
│   ├── NoSet               there is none at that place
│   ├── SetDamaged          a file of it is not what its receipt or manifest says
│   ├── SetFull             its storage is full
│   └── ExecutorLost        the workers have gone, or never came
├── EngineProblem       something about a service that searches
│   ├── NoEngine            nobody answers there, or it holds no such set
│   └── EngineRefused       it answers, and refuses
├── ExtraMissing        an optional library is not installed
├── Stopped             the person asked the work to stop
├── RootMissing         a folder of pictures is not there, or looks unmounted
├── PictureError        one file cannot be read as a picture
└── EncoderError        something about an encoder
    ├── EncoderUnavailable  its weights are not here and cannot be fetched
    ├── NoTextTower         it cannot encode words
    └── SpaceMismatch       vectors of two spaces were about to meet
"""

from __future__ import annotations


class CuratorError(Exception):
    """A problem the user caused and can solve; the message names the thing, the rule and the way out."""


class UsageError(CuratorError):
    """What was asked for makes no sense."""


class UnknownName(UsageError):
    """No registered part, image, tag or root has this name."""


class WhereError(UsageError):
    """SQLite refused the condition."""


class IndexProblem(CuratorError):
    """Something about the index folder."""


class NoIndex(IndexProblem):
    """There is no index at this place."""


class IndexExists(IndexProblem):
    """There is an index at this place already."""


class IndexLocked(IndexProblem):
    """Another process is writing to the index."""


class IndexDamaged(IndexProblem):
    """The database failed a check, so no answer from it can be trusted."""


class IndexFull(IndexProblem):
    """The disk under the index is full; what was acknowledged is kept."""


class IndexClosed(IndexProblem):
    """The index was closed in this process, and is still asked."""


class IndexTooNew(IndexProblem):
    """The index was written by a later version of curator."""


class IndexTooOld(IndexProblem):
    """The index was written by an earlier version of curator; opening it as `Index` migrates it."""


class ScaleProblem(CuratorError):
    """Something about a set of shards."""


class NoSet(ScaleProblem):
    """There is no set at this place."""


class SetDamaged(ScaleProblem):
    """A file of a set is missing, or is not what was written."""


class SetFull(ScaleProblem):
    """The storage of a set is full; the shards that have a receipt are kept."""


class ExecutorLost(ScaleProblem):
    """The processes or the cluster that should do the work have gone; what has a receipt is kept."""


class EngineProblem(CuratorError):
    """Something about a service that searches."""


class NoEngine(EngineProblem):
    """Nobody answers at this address, or it holds no such set."""


class EngineRefused(EngineProblem):
    """The service answers, and refuses what was asked of it."""


class ExtraMissing(CuratorError):
    """An optional library is not installed; the message says the line that installs it."""


class Stopped(CuratorError):
    """The work was asked to stop, and did at a place where nothing is half done."""


class RootMissing(CuratorError):
    """A folder of pictures is not there, cannot be read, or looks like an empty mount point."""


class PictureError(CuratorError):
    """One file cannot be read as a picture."""


class EncoderError(CuratorError):
    """Something about an encoder."""


class EncoderUnavailable(EncoderError):
    """The weights are not on this machine and cannot be fetched."""


class NoTextTower(EncoderError):
    """This encoder has no text tower, so words mean nothing to it."""


class SpaceMismatch(EncoderError):
    """Vectors of two spaces were about to be compared."""
