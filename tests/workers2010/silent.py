from richmond.workers.ussd import USSDWorker


class SilentWorker(USSDWorker):
    """Has only what everybody gets."""
