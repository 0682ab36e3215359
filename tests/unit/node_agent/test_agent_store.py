"""List and watch: the copy stays right over lost connections and expired versions."""

import pytest

from infra.local.kubernetes.agent.store import Store

PODS = "/api/v1/pods"


@pytest.fixture
def seen():
    return []


@pytest.fixture
def store(api, running, seen):
    made = Store(api, PODS)
    made.listeners.append(lambda change, item: seen.append((change, item["metadata"]["name"])))
    running(made.run())
    return made


def pod(name, **metadata):
    return {"metadata": {"name": name, "namespace": "n", "managedFields": [{}], **metadata}}


async def test_changes_arrive_in_order(server, store, seen, eventually):
    await store.synced.wait()
    await eventually(lambda: server._watchers)
    server.put(PODS, pod("a"))
    server.put(PODS, pod("a"))
    server.remove(PODS, "n/a")
    await eventually(lambda: len(seen) == 3)
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_what_changed_while_the_connection_was_lost_is_told_afterwards(server, store, seen, eventually):
    server.put(PODS, pod("stays"))
    server.put(PODS, pod("goes"))
    await eventually(lambda: len(store.items) == 2 and server._watchers)
    seen.clear()
    server.gone = True
    server.remove(PODS, "n/goes")
    server.drop_watches()
    del server.objects[PODS, "n/stays"]
    server.objects[PODS, "n/new"] = pod("new", uid="u", resourceVersion="99")
    await eventually(lambda: ("ADDED", "new") in seen)
    assert ("DELETED", "goes") in seen
    assert set(store.items) == {("n", "new")}


async def test_an_object_made_anew_under_its_name_is_a_deletion_and_an_addition(server, store, seen, eventually):
    server.put(PODS, pod("same", uid="1"))
    await eventually(lambda: store.items and server._watchers)
    seen.clear()
    server.gone = True
    server.objects[PODS, "n/same"] = pod("same", uid="2", resourceVersion="99")
    server.drop_watches()
    await eventually(lambda: seen == [("DELETED", "same"), ("ADDED", "same")])


async def test_bulky_bookkeeping_is_not_kept(server, store, eventually):
    server.put(PODS, pod("a"))
    await eventually(lambda: store.items)
    assert "managedFields" not in store.items["n", "a"]["metadata"]
