"""What may not stand together in one ini: names, codes and accounts that two sections claim. No I/O."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from richmond.settings import Settings, WorkerSettings, send_suffixes

Clash = tuple[str, str, str]  # what is wrong and what to do, section, key


def clashes(settings: Settings) -> Iterator[Clash]:
    yield from _logins(settings)
    yield from _opt_out(settings)
    yield from _unknown_accounts(settings)
    yield from _default_classes(settings)
    yield from _claims(settings)
    yield from _queues(settings)
    yield from _routing_keys(settings)
    total = sum(worker.min for worker in settings.workers)
    if total > settings.richmond.max_workers:
        text = f"{settings.richmond.max_workers} is below {total}, the sum of min of all classes"
        yield f"{text}; raise it or lower a min", "richmond", "max-workers"


def _logins(settings: Settings) -> Iterator[Clash]:
    owner: dict[tuple[str, int, str], str] = {}
    real = settings.accounts[1:] if settings.simulator.enabled else settings.accounts
    for account in real:
        if not account.host:
            continue
        login = account.host.lower(), account.port, account.username
        if login in owner:
            text = f"{account.username} at {account.host}:{account.port} is [{owner[login]}] already"
            why = "they would push each other out for ever; give each its own account at the gateway"
            yield f"{text}: {why}", account.section, "username"
        owner.setdefault(login, account.section)


def _opt_out(settings: Settings) -> Iterator[Clash]:
    for account in settings.accounts:
        both = [word for word in account.opt_in_keywords if word in account.opt_out_keywords]
        if both:
            text = f"{', '.join(both)} is in opt-out-keywords too; leave it to one of them"
            yield text, account.section, "opt-in-keywords"


def _unknown_accounts(settings: Settings) -> Iterator[Clash]:
    names = {account.name.lower(): account.name for account in settings.accounts}
    for worker in settings.workers:
        for name in worker.accounts:
            if name in names.values():
                continue
            near = difflib.get_close_matches(name.lower(), names, n=1)
            hint = f"did you mean {names[near[0]]}?" if near else f"valid are {', '.join(names.values())}"
            yield f"there is no account {name}; {hint}", f"worker:{worker.name}", "accounts"


def _default_classes(settings: Settings) -> Iterator[Clash]:
    default, *more = [worker.name for worker in settings.workers if worker.is_default] or [""]
    for name in more:
        text = f"has no codes, nor has [worker:{default}], and only one class can take the rest"
        yield f"{text}; give one of them codes (for SMS: short-codes, keywords or sms = yes)", f"worker:{name}", ""


def _claims(settings: Settings) -> Iterator[Clash]:
    """A message must have one class to go to, in every account."""
    owner: dict[tuple[str, str], str] = {}
    for worker in settings.workers:
        for key, claim in _claims_of(worker):
            for account in worker.accounts or [account.name for account in settings.accounts]:
                other = owner.setdefault((account, claim), worker.name)
                if other != worker.name:
                    text = f"{claim} belongs to [worker:{other}] already; leave it to one of them"
                    yield text, f"worker:{worker.name}", key


def _claims_of(worker: WorkerSettings) -> Iterator[tuple[str, str]]:
    for code in worker.codes:
        yield "codes", code
    for short_code, keyword in worker.sms_claims:
        said = " to ".join(filter(None, (keyword, short_code)))
        yield "keywords" if keyword else "short-codes", f"SMS {said}"
    if worker.sms:
        yield "sms", "SMS that no other class wants"


def _queues(settings: Settings) -> Iterator[Clash]:
    amqp = settings.amqp
    owner = {amqp.dead_queue: "[amqp] dead-queue"}
    if amqp.receive_queue in owner:
        text = f"is {amqp.receive_queue}, and so is dead-queue; give each a name of its own"
        yield text, "amqp", "receive-queue"
    owner.setdefault(amqp.receive_queue, "[amqp] receive-queue")
    for account in settings.accounts:
        for suffix in send_suffixes(account.name):
            queue = amqp.send_queue + suffix
            if queue in owner:
                other = owner[queue].removeprefix("[amqp] ")
                does = f"makes {queue} for [{account.section}]" if suffix else f"is {queue}"
                yield f"{does}, and so is {other}; give each a name of its own", "amqp", "send-queue"
            owner.setdefault(queue, "[amqp] send-queue")
    for worker in settings.workers:
        if worker.queue in owner and not worker.is_default:
            text = f"{worker.queue} is that of {owner[worker.queue]}: they would answer each other's subscribers"
            yield f"{text}; choose another or leave it out", f"worker:{worker.name}", "queue"
        owner.setdefault(worker.queue, f"[worker:{worker.name}]")


def _routing_keys(settings: Settings) -> Iterator[Clash]:
    amqp = settings.amqp
    send = {amqp.send_routing_key + suffix for a in settings.accounts for suffix in send_suffixes(a.name)}
    for key in (amqp.receive_routing_key, *(worker.routing_key for worker in settings.workers)):
        if key in send:
            text = f"makes {key}, and so does send-routing-key; workers would get their own replies; choose another"
            yield text, "amqp", "receive-routing-key"
