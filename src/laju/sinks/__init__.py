"""A run's rates in the tracker of the run: planned and used rate, the schedule, and the forecast beside the loss.

    track = laju.sinks.Track(wandb.init(project="mine"), schedule)     # or mlflow.start_run(), trackio.init(…), SummaryWriter()
    track.log(update, lr=optimizer.param_groups[0]["lr"], loss=loss)   # in each update

Trackers are known by the run that the caller made. None is imported here.
"""

from laju.sinks.track import Plan, Track
from laju.sinks.trackers import Tracker, tracker_of

__all__ = ["Plan", "Track", "Tracker", "tracker_of"]
