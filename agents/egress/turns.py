"""The turns that callers take: so many at once to one host, for one tenant, and in all."""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable

from agents.egress.deadlines import Deadlines
from agents.egress.errors import EgressError


class _Caller:
    """One that waits for its turn, in one queue at a time."""

    __slots__ = ("admitted", "deadline", "host", "queue", "tenant", "waiter")

    def __init__(self, host: Hashable, tenant: Hashable | None) -> None:
        self.host = host
        self.tenant = tenant
        self.deadline = 0.0
        self.admitted = False
        self.queue = _NOBODY
        self.waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def expire(self) -> None:
        """It waited in vain."""
        if not self.waiter.done():
            self.waiter.set_exception(
                EgressError("timeout", "Too many calls to this host, or for this tenant, are waiting.")
            )


class _Queue(OrderedDict[_Caller, None]):
    """Who waits, in order; anybody may leave it at any time."""


_NOBODY = _Queue()
"""In the place of a queue for who waits in none yet."""


class _Groups:
    """Turns of each host, or of each tenant. Counts and nothing else, as long as nobody waits: that costs least."""

    __slots__ = ("most", "queues", "taken")

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken: dict[Hashable, int] = {}
        self.queues: dict[Hashable, _Queue] = {}

    def full(self, key: Hashable) -> bool:
        """Whether nobody may enter now."""
        return self.taken.get(key, 0) >= self.most

    def enter(self, key: Hashable) -> None:
        """Take a turn."""
        self.taken[key] = self.taken.get(key, 0) + 1

    def line_up(self, key: Hashable, caller: _Caller) -> None:
        """Let somebody wait here, behind those who do already."""
        queue = self.queues.get(key)
        if queue is None:
            queue = self.queues[key] = _Queue()
        queue[caller] = None
        caller.queue = queue


class Turns:
    """At most so many calls at once to one host, for one tenant, and in all. Who waits holds nobody else up.

    Who waits for its host or its tenant holds no turn at all, so that one tenant's patience costs no other's; who
    waits for a turn of all holds its own two, which nobody could use before it. A turn that is free is taken and given
    back without a task, a timer or a context.
    """

    def __init__(self, *, per_host: int, per_tenant: int, total: int, deadlines: Deadlines) -> None:
        self._free = total
        self._deadlines = deadlines
        self._hosts = _Groups(per_host)
        self._tenants = _Groups(per_tenant)
        self._queue = _Queue()

    def take(self, host: Hashable, tenant: Hashable | None) -> bool:
        """Take a turn at once if there is one; False if one must `wait`."""
        hosts, tenants = self._hosts, self._tenants
        # Written out, because every call comes by here.
        at_host = hosts.taken.get(host, 0)
        if self._free <= 0 or at_host >= hosts.most:
            return False
        if tenant is not None:
            of_tenant = tenants.taken.get(tenant, 0)
            if of_tenant >= tenants.most:
                return False
            tenants.taken[tenant] = of_tenant + 1
        hosts.taken[host] = at_host + 1
        self._free -= 1
        return True

    async def wait(self, host: Hashable, tenant: Hashable | None) -> None:
        """Wait for a turn; raises `EgressError` with `timeout` after waiting in vain."""
        caller = _Caller(host, tenant)
        self._deadlines.watch(caller)
        self._admit(caller)
        try:
            await caller.waiter
        except BaseException:
            self._leave(caller)
            raise
        finally:
            self._deadlines.forget(caller)

    def give(self, host: Hashable, tenant: Hashable | None) -> None:
        """Give a turn back."""
        self._free += 1
        if self._queue:
            self._next_of_all()
        self._exit(host, tenant)

    def _exit(self, host: Hashable, tenant: Hashable | None) -> None:
        hosts, tenants = self._hosts, self._tenants
        # Written out as well.
        left = hosts.taken[host] - 1
        if left:
            hosts.taken[host] = left
        else:
            del hosts.taken[host]
        if tenant is not None:
            left = tenants.taken[tenant] - 1
            if left:
                tenants.taken[tenant] = left
            else:
                del tenants.taken[tenant]
            if tenants.queues and tenant in tenants.queues:
                self._next_of(tenants, tenant)
        if hosts.queues and host in hosts.queues:
            self._next_of(hosts, host)

    def _next_of(self, groups: _Groups, key: Hashable) -> None:
        """Let in who waits for this host or tenant; who finds another obstacle there goes on waiting for that."""
        queue = groups.queues[key]
        while queue and not groups.full(key):
            caller, _ = queue.popitem(last=False)
            if not caller.waiter.done():
                self._admit(caller)
        if not queue:
            del groups.queues[key]

    def _admit(self, caller: _Caller) -> None:
        host, tenant = caller.host, caller.tenant
        if self._hosts.full(host):
            self._hosts.line_up(host, caller)
            return
        if tenant is not None:
            if self._tenants.full(tenant):
                self._tenants.line_up(tenant, caller)
                return
            self._tenants.enter(tenant)
        self._hosts.enter(host)
        caller.admitted = True
        self._queue[caller] = None
        caller.queue = self._queue
        self._next_of_all()

    def _next_of_all(self) -> None:
        while self._queue and self._free > 0:
            caller, _ = self._queue.popitem(last=False)
            if not caller.waiter.done():
                self._free -= 1
                caller.waiter.set_result(None)

    def _leave(self, caller: _Caller) -> None:
        """Cancelled or too late: out of the queue, or back with what it holds."""
        waiting = caller.queue.pop(caller, caller) is None
        if not caller.admitted:
            return
        if not waiting and not _failed(caller.waiter):
            self._free += 1
            self._next_of_all()
        self._exit(caller.host, caller.tenant)


def _failed(waiter: asyncio.Future[None]) -> bool:
    return waiter.cancelled() or waiter.exception() is not None
