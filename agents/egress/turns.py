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
        self.queue = _Queue()
        self.waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wait_in(self, queue: "_Queue") -> None:
        """Line up behind those who wait already."""
        queue[self] = None
        self.queue = queue

    def expire(self) -> None:
        """It waited in vain."""
        if not self.waiter.done():
            self.waiter.set_exception(
                EgressError("timeout", "Too many calls to this host, or for this tenant, are waiting.")
            )


class _Queue(OrderedDict[_Caller, None]):
    """Who waits, in order; anybody may leave it at any time."""


class _Group:
    """Turns of one host or one tenant."""

    __slots__ = ("free", "queue")

    def __init__(self, turns: int) -> None:
        self.free = turns
        self.queue = _Queue()


class Turns:
    """At most so many calls at once to one host, for one tenant, and in all. Who waits holds nobody else up.

    Who waits for its host or its tenant holds no turn at all, so that one tenant's patience costs no other's; who
    waits for a turn of all holds its own two, which nobody could use before it. A turn that is free is taken and given
    back without a task, a timer or a context.
    """

    def __init__(self, *, per_host: int, per_tenant: int, total: int, deadlines: Deadlines) -> None:
        self._per_host = per_host
        self._per_tenant = per_tenant
        self._free = total
        self._deadlines = deadlines
        self._hosts: dict[Hashable, _Group] = {}
        self._tenants: dict[Hashable, _Group] = {}
        self._queue = _Queue()

    def take(self, host: Hashable, tenant: Hashable | None) -> bool:
        """Take a turn at once if there is one; False if one must `wait`."""
        if self._free <= 0 or self._obstacle(host, tenant) is not None:
            return False
        self._enter(host, tenant)
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
        self._next_of_all()
        self._exit(host, tenant)

    def _obstacle(self, host: Hashable, tenant: Hashable | None) -> _Group | None:
        """The group that has no turn for this caller."""
        group = self._hosts.get(host)
        if group is not None and group.free <= 0:
            return group
        group = self._tenants.get(tenant) if tenant is not None else None
        return group if group is not None and group.free <= 0 else None

    def _enter(self, host: Hashable, tenant: Hashable | None) -> None:
        group = self._hosts.get(host)
        if group is None:
            group = self._hosts[host] = _Group(self._per_host)
        group.free -= 1
        if tenant is not None:
            group = self._tenants.get(tenant)
            if group is None:
                group = self._tenants[tenant] = _Group(self._per_tenant)
            group.free -= 1

    def _exit(self, host: Hashable, tenant: Hashable | None) -> None:
        at_host = self._hosts[host]
        at_host.free += 1
        of_tenant = None
        if tenant is not None:
            of_tenant = self._tenants[tenant]
            of_tenant.free += 1
            self._next_of(of_tenant)
            if of_tenant.free == self._per_tenant and not of_tenant.queue:
                del self._tenants[tenant]
        self._next_of(at_host)
        if at_host.free == self._per_host and not at_host.queue:
            del self._hosts[host]

    def _next_of(self, group: _Group) -> None:
        """Let in who waits for this group; who finds another obstacle there goes on waiting for that."""
        while group.queue and group.free > 0:
            caller, _ = group.queue.popitem(last=False)
            if not caller.waiter.done():
                self._admit(caller)

    def _admit(self, caller: _Caller) -> None:
        obstacle = self._obstacle(caller.host, caller.tenant)
        if obstacle is not None:
            caller.wait_in(obstacle.queue)
            return
        self._enter(caller.host, caller.tenant)
        caller.admitted = True
        caller.wait_in(self._queue)
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
