"""Logging to experiment trackers: planned and used learning rates, the schedule, and the forecast of the loss.

    track = laju.sinks.Track(wandb.init(project="mine"), schedule)     # or mlflow.start_run(), trackio.init(…), SummaryWriter()
    track.log(update, lr=optimizer.param_groups[0]["lr"], loss=loss)   # in each update

The tracker is recognised by the type of the run; laju imports no tracker.
"""

from laju.sinks.track import Plan, Track
from laju.sinks.trackers import Tracker, tracker_of

__all__ = ["Plan", "Track", "Tracker", "tracker_of"]
