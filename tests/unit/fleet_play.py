"""Plays a recorded history to the plan: a fleet, its clock, and a spawner that does as it is told."""

from richmond import config
from richmond.supervisor import fleet as f
from richmond.supervisor import jobs, plan
from richmond.supervisor.lifecycle import State

INI = """
[richmond]
max-workers = 20
[worker:EchoWorker]
workers = 2
min = 1
max = 8
[worker:FooBarWorker]
codes = *120*666#
workers = 1
"""


def load_in(directory):
    """Loads an ini from its text."""

    def load(text=INI):
        path = directory / "richmond.ini"
        path.write_text(text)
        return config.load(path, {})

    return load


class Play:
    """A fleet, its clock, and a spawner that does as it is told."""

    def __init__(self, settings):
        self.fleet = plan.begin(settings)
        self.now = 100.0
        self.pids = iter(range(1000, 9999))
        self.actions = []
        self.send(f.AmqpChanged(True))
        self.send(f.Started(settings))

    def send(self, event):
        self.now += 0.01
        self.fleet, actions = plan.step(self.fleet, event, self.now, 0.5)
        self.actions += actions
        return actions

    def take(self, kind):
        found = [a for a in self.actions if isinstance(a, kind)]
        self.actions = [a for a in self.actions if not isinstance(a, kind)]
        return found

    def fork_all(self):
        for spawn in self.take(f.Spawn):
            self.send(jobs.Forked(spawn.slot, next(self.pids)))

    def up(self, files=None):
        """Fork what is ordered and let it report, until nothing more is ordered."""
        while any(isinstance(a, f.Spawn) for a in self.actions):
            self.fork_all()
            for slot in self.slots():
                if slot.state is State.STARTING:
                    self.send(jobs.Ready(slot.name, slot.pid, files or {}))
            self.obey()

    def obey(self):
        """Workers that get a signal end."""
        for kill in self.take(f.Kill):
            self.send(jobs.Exited(kill.slot, kill.pid, code=0))

    def slots(self, name=None):
        return [s for c in self.fleet.classes.values() for s in c.slots if name in (None, c.spec.name)]

    def crash(self, slot, code=1):
        self.send(jobs.Exited(slot.name, slot.pid, code=code))

    def wait(self):
        """Let the clock run to the next timer."""
        self.now = plan.deadline(self.fleet)
        return self.send(f.Tick())
